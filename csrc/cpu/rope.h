// rope.h: what the forms of rope share.
#ifndef L3V_CPU_ROPE_H
#define L3V_CPU_ROPE_H

#include <cmath>

#include "ops.h"

namespace l3v::cpu {

// cos and sin of the row's head_dim / 2 angles, which all its heads turn by. False, with the fault
// noted, when the position is below zero: the row is to be left alone.
//
// std::cos and std::sin for all sets: an angle of 10^5 needs a range reduction in more bits than a
// float has, and the heads share the cost.
bool rope_angles(const RopeArgs& a, Worker& w, int64_t row, float* cosines, float* sines);

}  // namespace l3v::cpu
#endif
