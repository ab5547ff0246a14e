#include "op.h"

using namespace l3v;

l3v_status l3v_topk(l3v_context* ctx, const l3v_topk_params* params) {
  return queue_op(ctx, "l3v_topk", params, [](Op& op, const l3v_topk_params& p) {
    TopkArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.between("cols", p.cols, 1, INT32_MAX);  // ids are int32
    a.k = op.count("k", p.k);
    op.require(a.k <= a.cols, L3V_INVALID_ARGUMENT, "k is %d, of %lld columns", a.k,
               static_cast<long long>(a.cols));
    op.require(a.k <= op.capabilities().max_topk, L3V_UNSUPPORTED,
               "k is %d, and the library's kernels end at %d", a.k, op.capabilities().max_topk);
    a.x = op.in("x", p.x, a.rows, a.cols);
    a.ids = op.out("ids", p.ids, a.rows, a.k, Holds::kIndexes);
    a.values = op.optional_out("values", p.values, a.rows, a.k);
    return op.run(&Device::topk, a);
  });
}
