// linear_avx512bf16.h: compute BF16 by the processor's bf16 dot product, the part of linear_avx512
// that needs AVX512-BF16.
#ifndef L3V_CPU_LINEAR_AVX512BF16_H
#define L3V_CPU_LINEAR_AVX512BF16_H

#include "cpu.h"

namespace l3v::cpu {

void linear_avx512bf16(const LinearArgs& a, Worker& w);
Workspace linear_workspace_avx512bf16(const LinearArgs& a, int workers);

}  // namespace l3v::cpu
#endif
