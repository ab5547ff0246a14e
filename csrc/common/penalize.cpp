#include "op.h"

using namespace l3v;

l3v_status l3v_penalize(l3v_context* ctx, const l3v_penalize_params* params) {
  return queue_op(ctx, "l3v_penalize", params, [](Op& op, const l3v_penalize_params& p) {
    PenalizeArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.count("cols", p.cols);
    a.counts = op.in("counts", p.counts, a.rows, a.cols, Holds::kIndexes);
    a.prompt = op.optional("prompt", p.prompt, a.rows, a.cols, Holds::kMask);
    a.settings = op.in("settings", p.settings, a.rows, 3);
    a.x = op.out("x", p.x, a.rows, a.cols);
    return op.run(&Device::penalize, a);
  });
}
