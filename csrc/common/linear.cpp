#include "op.h"

using namespace l3v;

l3v_status l3v_linear(l3v_context* ctx, const l3v_linear_params* params) {
  return queue_op(ctx, "l3v_linear", params, [](Op& op, const l3v_linear_params& p) {
    LinearArgs a{};
    a.rows = op.count("rows", p.rows);
    a.activation = op.activation(p.activation);
    const Weight& w = op.weight(p.weight);
    a.weight = &w;
    a.compute = op.compute(p.compute, w);
    a.x = op.in("x", p.x, a.rows, w.cols, Holds::kActivations);
    a.bias = op.optional("bias", p.bias, 1, w.rows);
    a.residual = op.optional("residual", p.residual, a.rows, w.rows);
    a.out = op.out("out", p.out, a.rows, w.rows, Holds::kActivations, {"residual"});
    return op.run(&Device::linear, a);
  });
}
