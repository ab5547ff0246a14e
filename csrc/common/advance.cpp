#include "op.h"

using namespace l3v;

l3v_status l3v_advance(l3v_context* ctx, const l3v_advance_params* params) {
  return queue_op(ctx, "l3v_advance", params, [](Op& op, const l3v_advance_params& p) {
    AdvanceArgs a{};
    a.sequences = op.count("sequences", p.sequences);
    a.next = op.in("next", p.next, a.sequences, 1, Holds::kIndexes);
    a.ids = op.optional_out("ids", p.ids, a.sequences, 1, Holds::kIndexes);
    a.positions = op.optional_out("positions", p.positions, a.sequences, 1, Holds::kIndexes);
    a.lengths = op.optional_out("lengths", p.lengths, a.sequences, 1, Holds::kIndexes);
    return op.run(&Device::advance, a);
  });
}
