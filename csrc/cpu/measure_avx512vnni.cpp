// measure_avx512vnni.cpp: the peak loop of the dot product of bytes.
#if defined(__x86_64__)

#include <immintrin.h>

#include "measure.h"
#include "target_avx512vnni.h"

namespace l3v::cpu {
namespace {

constexpr int kAccumulators = 12;
constexpr int kUnroll = 8;

int64_t compute_i8(int64_t rounds) {
  __m512i acc[kAccumulators];
  for (auto& a : acc) a = _mm512_setzero_si512();
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(2);
  for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; u++) {
#pragma GCC unroll 12
      for (int k = 0; k < kAccumulators; k++) {
        acc[k] = _mm512_dpbusd_epi32(acc[k], x, y);
        asm volatile("" : "+v"(acc[k]));
      }
    }
  }
  return rounds * kUnroll * kAccumulators * 64 * 2;
}

}  // namespace

PeakCompute peak_i8_avx512vnni() { return compute_i8; }

}  // namespace l3v::cpu

#include "target_end.h"
#endif
