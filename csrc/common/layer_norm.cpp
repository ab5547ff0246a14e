#include "op.h"

using namespace l3v;

l3v_status l3v_layer_norm(l3v_context* ctx, const l3v_layer_norm_params* params) {
  return queue_op(ctx, "l3v_layer_norm", params, [](Op& op, const l3v_layer_norm_params& p) {
    LayerNormArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.count("cols", p.cols);
    a.eps = op.positive("eps", p.eps);
    a.x = op.in("x", p.x, a.rows, a.cols);
    a.weight = op.in("weight", p.weight, 1, a.cols);
    a.bias = op.in("bias", p.bias, 1, a.cols);
    a.out = op.out("out", p.out, a.rows, a.cols, Holds::kActivations, {"x"});
    return op.run(&Device::layer_norm, a);
  });
}
