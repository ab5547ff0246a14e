#include "op.h"

using namespace l3v;

l3v_status l3v_attention(l3v_context* ctx, const l3v_attention_params* params) {
  return queue_op(ctx, "l3v_attention", params, [](Op& op, const l3v_attention_params& p) {
    AttentionArgs a{};
    a.q_rows = op.count("q_rows", p.q_rows);
    a.k_rows = op.count("k_rows", p.k_rows);
    a.sequences = op.between("sequences", p.sequences, 1, INT64_MAX - 1);
    op.heads(p.heads, p.kv_heads, p.head_dim);
    a.heads = p.heads;
    a.kv_heads = p.kv_heads;
    a.head_dim = p.head_dim;
    a.scale = op.positive("scale", p.scale);
    const int64_t q_cols = op.product("heads * head_dim", a.heads, a.head_dim);
    const int64_t kv_cols = op.product("kv_heads * head_dim", a.kv_heads, a.head_dim);
    a.q = op.in("q", p.q, a.q_rows, q_cols, Holds::kActivations);
    a.k = op.in("k", p.k, a.k_rows, kv_cols, Holds::kActivations);
    a.v = op.in("v", p.v, a.k_rows, kv_cols, Holds::kActivations);
    op.same_type("q", a.q, "k", a.k);
    op.same_type("q", a.q, "v", a.v);
    a.q_offsets = op.in("q_offsets", p.q_offsets, a.sequences + 1, 1, Holds::kIndexes);
    a.k_offsets = op.in("k_offsets", p.k_offsets, a.sequences + 1, 1, Holds::kIndexes);
    a.key_mask = op.optional("key_mask", p.key_mask, a.k_rows, 1, Holds::kMask);
    a.out = op.out("out", p.out, a.q_rows, q_cols, Holds::kActivations);
    return op.run(&Device::attention, a);
  });
}
