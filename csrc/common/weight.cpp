// weight.cpp: matrices in the backend's own layout, written and read by rows.
#include "blocks.h"
#include "context.h"
#include "layout.h"
#include "op.h"

namespace l3v {
namespace {

// Bytes of cols values of a row; block types have whole blocks.
bool row_bytes(int32_t dtype, int64_t cols, int64_t* bytes) {
  const Block block = block_of(dtype);
  return is_block_type(dtype) ? !__builtin_mul_overflow(cols / block.elements, int64_t{block.bytes}, bytes)
                              : !__builtin_mul_overflow(cols, element_size(dtype), bytes);
}

Status read_weight_params(l3v_context* ctx, const l3v_weight_params* params, l3v_weight_params* p) {
  if (Status s = read_params(params, p); !s.ok()) return s;
  if (element_size(p->dtype) == 0 && !is_block_type(p->dtype))
    return fail(L3V_INVALID_ARGUMENT, "dtype %d is not known", p->dtype);
  if ((ctx->capabilities.weight_types >> p->dtype & 1) == 0)
    return fail(L3V_UNSUPPORTED, "this library has no weights of type %s", dtype_name(p->dtype));
  if (p->rows < 1 || p->cols < 1)
    return fail(L3V_INVALID_ARGUMENT, "a weight of %lld x %lld", static_cast<long long>(p->rows),
                static_cast<long long>(p->cols));
  if (const Block block = block_of(p->dtype); is_block_type(p->dtype) && p->cols % block.elements != 0)
    return fail(L3V_INVALID_ARGUMENT, "a %s weight of %lld columns: its blocks have %d each",
                dtype_name(p->dtype), static_cast<long long>(p->cols), block.elements);
  int64_t bytes;
  if (!row_bytes(p->dtype, p->cols, &bytes) || __builtin_mul_overflow(p->rows, bytes, &bytes))
    return fail(L3V_INVALID_ARGUMENT, "a weight of %lld x %lld: its bytes do not fit 64 bits",
                static_cast<long long>(p->rows), static_cast<long long>(p->cols));
  return {};
}

// Finds the weight and checks rows [first, first + rows) and a host block of bytes for them.
Status rows_of(l3v_context* ctx, uint64_t id, int64_t first, int64_t rows, const void* host,
               int64_t bytes, WeightObject** out) {
  if (Status s = ctx->find(id, out); !s.ok()) return s;
  const Weight& w = *(*out)->weight;
  if (rows < 1 || first < 0 || first > w.rows || rows > w.rows - first)
    return fail(L3V_INVALID_ARGUMENT, "%lld rows from row %lld on, of weight #%lld with %lld rows",
                static_cast<long long>(rows), static_cast<long long>(first), l3v_context::number(id),
                static_cast<long long>(w.rows));
  if (host == nullptr) return fail(L3V_INVALID_ARGUMENT, "the host block is null");
  int64_t want = 0;
  row_bytes(w.dtype, w.cols, &want);
  want *= rows;
  if (bytes != want)
    return fail(L3V_INVALID_ARGUMENT, "bytes is %lld, and %lld rows of %lld %s values have %lld",
                static_cast<long long>(bytes), static_cast<long long>(rows),
                static_cast<long long>(w.cols), dtype_name(w.dtype), static_cast<long long>(want));
  return {};
}

// Finds the weight and checks bytes [offset, offset + bytes) of its packed form, of *all bytes.
Status packed_of(l3v_context* ctx, uint64_t id, int64_t offset, int64_t bytes, const void* host,
                 WeightObject** out, int64_t* all) {
  if (Status s = ctx->find(id, out); !s.ok()) return s;
  const Weight& w = *(*out)->weight;
  if (Status s = ctx->device->weight_plan(w.dtype, w.rows, w.cols, all); !s.ok()) return s;
  if (bytes < 1 || offset < 0 || offset > *all || bytes > *all - offset)
    return fail(L3V_INVALID_ARGUMENT, "%lld bytes from byte %lld on, of the %lld of weight #%lld",
                static_cast<long long>(bytes), static_cast<long long>(offset),
                static_cast<long long>(*all), l3v_context::number(id));
  if (host == nullptr) return fail(L3V_INVALID_ARGUMENT, "the host block is null");
  return {};
}

}  // namespace
}  // namespace l3v

using namespace l3v;

l3v_status l3v_weight_plan(l3v_context* ctx, const l3v_weight_params* params, int64_t* bytes) {
  return enter(ctx, "l3v_weight_plan", During::kNoCapture, [&]() -> Status {
    l3v_weight_params p;
    if (bytes == nullptr) return fail(L3V_INVALID_ARGUMENT, "bytes is null");
    if (Status s = read_weight_params(ctx, params, &p); !s.ok()) return s;
    return ctx->device->weight_plan(p.dtype, p.rows, p.cols, bytes);
  });
}

l3v_status l3v_weight_create(l3v_context* ctx, const l3v_weight_params* params, uint64_t* out) {
  return enter(ctx, "l3v_weight_create", During::kNoCapture, [&]() -> Status {
    l3v_weight_params p;
    if (out == nullptr) return fail(L3V_INVALID_ARGUMENT, "out is null");
    if (Status s = read_weight_params(ctx, params, &p); !s.ok()) return s;
    auto object = std::make_unique<WeightObject>();
    if (Status s = ctx->device->weight_create(p.dtype, p.rows, p.cols, &object->weight); !s.ok())
      return s;
    *out = ctx->add(std::move(object));
    return {};
  });
}

l3v_status l3v_weight_write_rows(l3v_context* ctx, uint64_t weight, int64_t first, int64_t rows,
                                 const void* src, int64_t bytes) {
  return enter(ctx, "l3v_weight_write_rows", During::kNoCapture, [&]() -> Status {
    WeightObject* w = nullptr;
    if (Status s = rows_of(ctx, weight, first, rows, src, bytes, &w); !s.ok()) return s;
    if (Status s = ctx->device->weight_write(w->weight.get(), first, rows, src); !s.ok()) return s;
    w->written.add(first, first + rows);
    return {};
  });
}

l3v_status l3v_weight_read_rows(l3v_context* ctx, uint64_t weight, int64_t first, int64_t rows,
                                void* dst, int64_t bytes) {
  return enter(ctx, "l3v_weight_read_rows", During::kNoCapture, [&]() -> Status {
    WeightObject* w = nullptr;
    if (Status s = rows_of(ctx, weight, first, rows, dst, bytes, &w); !s.ok()) return s;
    if (Status s = ctx->device->synchronize(); !s.ok()) return s;
    return ctx->device->weight_read(w->weight.get(), first, rows, dst);
  });
}

l3v_status l3v_weight_read_packed(l3v_context* ctx, uint64_t weight, int64_t offset, void* dst,
                                  int64_t bytes) {
  return enter(ctx, "l3v_weight_read_packed", During::kNoCapture, [&]() -> Status {
    WeightObject* w = nullptr;
    int64_t all = 0;
    if (Status s = packed_of(ctx, weight, offset, bytes, dst, &w, &all); !s.ok()) return s;
    if (Status s = ctx->device->synchronize(); !s.ok()) return s;
    return ctx->device->weight_read_packed(w->weight.get(), offset, bytes, dst);
  });
}

l3v_status l3v_weight_write_packed(l3v_context* ctx, uint64_t weight, int64_t offset, const void* src,
                                   int64_t bytes) {
  return enter(ctx, "l3v_weight_write_packed", During::kNoCapture, [&]() -> Status {
    WeightObject* w = nullptr;
    int64_t all = 0;
    if (Status s = packed_of(ctx, weight, offset, bytes, src, &w, &all); !s.ok()) return s;
    if (Status s = ctx->device->weight_write_packed(w->weight.get(), offset, bytes, src); !s.ok())
      return s;
    w->packed.add(offset, offset + bytes);
    if (w->packed.missing(all) < 0) w->written.add(0, w->weight->rows);
    return {};
  });
}

l3v_status l3v_weight_free(l3v_context* ctx, uint64_t weight) {
  return enter(ctx, "l3v_weight_free", During::kNoCapture,
               [&] { return ctx->remove<WeightObject>(weight); });
}
