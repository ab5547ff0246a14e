#include "op.h"

using namespace l3v;

l3v_status l3v_check_finite(l3v_context* ctx, const l3v_check_finite_params* params) {
  return queue_op(ctx, "l3v_check_finite", params, [](Op& op, const l3v_check_finite_params& p) {
    CheckFiniteArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.count("cols", p.cols);
    a.stage = p.stage;
    a.x = op.in("x", p.x, a.rows, a.cols);
    return op.run(&Device::check_finite, a);
  });
}
