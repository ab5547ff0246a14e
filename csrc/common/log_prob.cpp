#include "op.h"

using namespace l3v;

l3v_status l3v_log_prob(l3v_context* ctx, const l3v_log_prob_params* params) {
  return queue_op(ctx, "l3v_log_prob", params, [](Op& op, const l3v_log_prob_params& p) {
    LogProbArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.between("cols", p.cols, 1, INT32_MAX);  // ids are int32
    a.k = op.count("k", p.k);
    a.x = op.in("x", p.x, a.rows, a.cols);
    a.ids = op.in("ids", p.ids, a.rows, a.k, Holds::kIndexes);
    a.out = op.out("out", p.out, a.rows, a.k);
    return op.run(&Device::log_prob, a);
  });
}
