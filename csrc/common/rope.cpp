#include "op.h"

using namespace l3v;

l3v_status l3v_rope(l3v_context* ctx, const l3v_rope_params* params) {
  return queue_op(ctx, "l3v_rope", params, [](Op& op, const l3v_rope_params& p) {
    RopeArgs a{};
    a.rows = op.count("rows", p.rows);
    op.heads(p.heads, 1, p.head_dim);
    op.require(p.head_dim % 2 == 0, L3V_INVALID_ARGUMENT, "head_dim is %d, not even", p.head_dim);
    a.heads = p.heads;
    a.head_dim = p.head_dim;
    a.positions = op.in("positions", p.positions, a.rows, 1, Holds::kIndexes);
    a.frequencies = op.in("frequencies", p.frequencies, 1, a.head_dim / 2);
    a.x = op.out("x", p.x, a.rows, op.product("heads * head_dim", a.heads, a.head_dim), Holds::kActivations);
    return op.run(&Device::rope, a);
  });
}
