#include "op.h"

using namespace l3v;

l3v_status l3v_softmax(l3v_context* ctx, const l3v_softmax_params* params) {
  return queue_op(ctx, "l3v_softmax", params, [](Op& op, const l3v_softmax_params& p) {
    SoftmaxArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.count("cols", p.cols);
    a.scale = op.positive("scale", p.scale);
    a.x = op.in("x", p.x, a.rows, a.cols);
    a.out = op.out("out", p.out, a.rows, a.cols, Holds::kFloats, {"x"});
    return op.run(&Device::softmax, a);
  });
}
