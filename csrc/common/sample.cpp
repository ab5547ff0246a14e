#include "op.h"

using namespace l3v;

l3v_status l3v_sample(l3v_context* ctx, const l3v_sample_params* params) {
  return queue_op(ctx, "l3v_sample", params, [](Op& op, const l3v_sample_params& p) {
    SampleArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.between("cols", p.cols, 1, INT32_MAX);  // ids are int32
    a.x = op.in("x", p.x, a.rows, a.cols);
    a.settings = op.in("settings", p.settings, a.rows, 8, Holds::kIndexes);
    a.positions = op.in("positions", p.positions, a.rows, 1, Holds::kIndexes);
    a.ids = op.out("ids", p.ids, a.rows, 1, Holds::kIndexes);
    a.counts = op.optional_out("counts", p.counts, a.rows, a.cols, Holds::kIndexes);
    return op.run(&Device::sample, a);
  });
}
