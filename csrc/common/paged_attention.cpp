#include "paged.h"

using namespace l3v;

l3v_status l3v_paged_attention(l3v_context* ctx, const l3v_paged_attention_params* params) {
  return queue_op(ctx, "l3v_paged_attention", params, [](Op& op, const l3v_paged_attention_params& p) {
    PagedAttentionArgs a{};
    const int64_t cache_rows = paged_shape(op, p, &a);
    op.heads(p.heads, p.kv_heads, p.head_dim);
    a.heads = p.heads;
    a.kv_heads = p.kv_heads;
    a.head_dim = p.head_dim;
    a.scale = op.positive("scale", p.scale);
    const int64_t q_cols = op.product("heads * head_dim", a.heads, a.head_dim);
    const int64_t kv_cols = op.product("kv_heads * head_dim", a.kv_heads, a.head_dim);
    a.q = op.in("q", p.q, a.rows, q_cols, Holds::kActivations);
    paged_tables(op, p, &a);
    a.k_cache = op.in("k_cache", p.k_cache, cache_rows, kv_cols, Holds::kActivations);
    a.v_cache = op.in("v_cache", p.v_cache, cache_rows, kv_cols, Holds::kActivations);
    op.same_type("q", a.q, "k_cache", a.k_cache);
    op.same_type("q", a.q, "v_cache", a.v_cache);
    a.out = op.out("out", p.out, a.rows, q_cols, Holds::kActivations);
    return op.run(&Device::paged_attention, a);
  });
}
