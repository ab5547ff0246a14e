// measure.h: what this processor can do at most, measured in the same run as the kernels that are
// held against it.
#ifndef L3V_CPU_MEASURE_H
#define L3V_CPU_MEASURE_H

#include <cstdint>

namespace l3v::cpu {

// Runs rounds of a loop that does nothing but multiply-adds in registers, and returns the number of
// operations done (two a multiply-add). Twelve independent accumulators hide the latency of the
// fused operation: four cycles on two ports need eight, and ten leave room for a slower start.
using PeakCompute = int64_t (*)(int64_t rounds);

// The set's fastest loop for float32, for bfloat16 pairs summed in float32, and for bytes summed in
// int32; null: none.
PeakCompute peak_f32_avx2();
PeakCompute peak_f32_avx512();
PeakCompute peak_bf16_avx512();
PeakCompute peak_i8_avx2();
PeakCompute peak_i8_avx512vnni();

// Reads bytes (a multiple of 512) with the widest loads of the set; the sum is returned so that
// nothing is left out.
uint64_t peak_read_scalar(const char* data, int64_t bytes);
uint64_t peak_read_avx2(const char* data, int64_t bytes);
uint64_t peak_read_avx512(const char* data, int64_t bytes);

// Seconds for steps dependent additions of one cycle each: the length of a cycle, whatever the
// processor clocks at just now.
double cycle_chain(int64_t steps);

}  // namespace l3v::cpu
#endif
