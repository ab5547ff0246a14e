// topk.h: what the forms of topk share.
#ifndef L3V_CPU_TOPK_H
#define L3V_CPU_TOPK_H

#include "ops.h"

namespace l3v::cpu {

struct Candidate {
  float value;
  int32_t column;
};

// Notes the fault of a row and marks its outputs; column is its first NaN, or 0.
void topk_refuse(const TopkArgs& a, Worker& w, int64_t row, int64_t column);

}  // namespace l3v::cpu
#endif
