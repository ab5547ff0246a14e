// linear_avx512vnni.h: compute I8 by the processor's dot product of bytes, the part of linear_avx512
// that needs AVX512-VNNI.
#ifndef L3V_CPU_LINEAR_AVX512VNNI_H
#define L3V_CPU_LINEAR_AVX512VNNI_H

#include "cpu.h"

namespace l3v::cpu {

void linear_avx512vnni(const LinearArgs& a, Worker& w);
Workspace linear_workspace_avx512vnni(const LinearArgs& a, int workers);

}  // namespace l3v::cpu
#endif
