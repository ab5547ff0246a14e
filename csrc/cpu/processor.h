// processor.h: which kernels and how many workers this machine runs.
#ifndef L3V_CPU_PROCESSOR_H
#define L3V_CPU_PROCESSOR_H

#include "cpu.h"

namespace l3v::cpu {

// The kernel set of that name, or the best one for "". L3V_UNSUPPORTED: unknown, not in this
// library, or not runnable on this processor; the text says which.
Status choose_kernels(const char* name, const Kernels** out);

// "Intel(R) Xeon(R) Processor, avx512+bf16, 2 cores".
void describe_device(const Kernels& kernels, char* text, size_t cap);

}  // namespace l3v::cpu
#endif
