#include "paged.h"

using namespace l3v;

l3v_status l3v_cache_append(l3v_context* ctx, const l3v_cache_append_params* params) {
  return queue_op(ctx, "l3v_cache_append", params, [](Op& op, const l3v_cache_append_params& p) {
    CacheAppendArgs a{};
    const int64_t cache_rows = paged_shape(op, p, &a);
    a.cols = op.count("cols", p.cols);
    a.k = op.in("k", p.k, a.rows, a.cols, Holds::kActivations);
    a.v = op.in("v", p.v, a.rows, a.cols, Holds::kActivations);
    op.same_type("k", a.k, "v", a.v);
    paged_tables(op, p, &a);
    a.k_cache = op.out("k_cache", p.k_cache, cache_rows, a.cols, Holds::kActivations);
    a.v_cache = op.out("v_cache", p.v_cache, cache_rows, a.cols, Holds::kActivations);
    op.same_type("k_cache", a.k_cache, "v_cache", a.v_cache);
    return op.run(&Device::cache_append, a);
  });
}
