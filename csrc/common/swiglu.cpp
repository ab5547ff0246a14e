#include "op.h"

using namespace l3v;

l3v_status l3v_swiglu(l3v_context* ctx, const l3v_swiglu_params* params) {
  return queue_op(ctx, "l3v_swiglu", params, [](Op& op, const l3v_swiglu_params& p) {
    SwigluArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.count("cols", p.cols);
    a.gate = op.in("gate", p.gate, a.rows, a.cols, Holds::kActivations);
    a.up = op.in("up", p.up, a.rows, a.cols, Holds::kActivations);
    op.same_type("gate", a.gate, "up", a.up);
    a.out = op.out("out", p.out, a.rows, a.cols, Holds::kActivations, {"gate", "up"});
    return op.run(&Device::swiglu, a);
  });
}
