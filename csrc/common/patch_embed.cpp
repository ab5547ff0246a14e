#include "blocks.h"
#include "op.h"

using namespace l3v;

l3v_status l3v_patch_embed(l3v_context* ctx, const l3v_patch_embed_params* params) {
  return queue_op(ctx, "l3v_patch_embed", params, [](Op& op, const l3v_patch_embed_params& p) {
    PatchEmbedArgs a{};
    a.images = op.count("images", p.images);
    a.channels = op.count("channels", p.channels);
    a.height = op.count("height", p.height);
    a.width = op.count("width", p.width);
    a.patch = op.count("patch", p.patch);
    op.require(a.patch <= a.height && a.patch <= a.width, L3V_INVALID_ARGUMENT,
               "patch is %lld, larger than a picture of %lld x %lld", static_cast<long long>(a.patch),
               static_cast<long long>(a.width), static_cast<long long>(a.height));
    const Weight& w = op.weight(p.weight);
    a.weight = &w;
    op.require(!is_block_type(w.dtype), L3V_UNSUPPORTED, "patch_embed takes no weights of blocks, and these are %s",
               dtype_name(w.dtype));
    a.compute = op.compute(p.compute, w);
    const int64_t square = op.product("patch * patch", a.patch, a.patch);
    const int64_t values = op.product("channels * patch * patch", square, a.channels);
    op.require(w.cols == values, L3V_INVALID_ARGUMENT,
               "the weight has %lld columns, and a patch of %lld x %lld in %lld channels has %lld values",
               static_cast<long long>(w.cols), static_cast<long long>(a.patch),
               static_cast<long long>(a.patch), static_cast<long long>(a.channels),
               static_cast<long long>(values));
    const int64_t planes = op.product("images * channels", a.images, a.channels);
    const int64_t lines = op.product("images * channels * height", planes, a.height);
    const int64_t grid = op.product("patches of a picture", a.height / a.patch, a.width / a.patch);
    const int64_t patches = op.product("patches", a.images, grid);
    a.pixels = op.in("pixels", p.pixels, lines, a.width);
    a.bias = op.optional("bias", p.bias, 1, w.rows);
    a.position = op.optional("position", p.position, grid, w.rows);
    a.out = op.out("out", p.out, patches, w.rows);
    return op.run(&Device::patch_embed, a);
  });
}
