// advance.cpp: ends a decode step on the device: the sampled ids become the next step's input, and
// positions and lengths grow by one, for each sequence that is not idle. Without lengths none is.
#include "ops.h"

namespace l3v::cpu {

void advance_scalar(const AdvanceArgs& a, Worker& w) {
  if (w.claim(1) < 0) return;  // a few integers: one worker's work
  for (int64_t s = 0; s < a.sequences; s++) {
    if (a.lengths && *a.lengths.i32(s) <= 0) continue;
    if (a.ids) *a.ids.i32(s) = *a.next.i32(s);
    if (a.positions) ++*a.positions.i32(s);
    if (a.lengths) ++*a.lengths.i32(s);
  }
}

}  // namespace l3v::cpu
