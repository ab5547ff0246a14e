#include "op.h"

using namespace l3v;

l3v_status l3v_activation(l3v_context* ctx, const l3v_activation_params* params) {
  return queue_op(ctx, "l3v_activation", params, [](Op& op, const l3v_activation_params& p) {
    ActivationArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.count("cols", p.cols);
    a.activation = op.activation(p.activation);
    a.x = op.in("x", p.x, a.rows, a.cols, Holds::kActivations);
    a.out = op.out("out", p.out, a.rows, a.cols, Holds::kActivations, {"x"});
    return op.run(&Device::activation, a);
  });
}
