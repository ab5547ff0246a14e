// measure_avx2.cpp: 256-bit peak loops.
#if defined(__x86_64__)

#include <immintrin.h>

#include "measure.h"
#include "target_avx2.h"

namespace l3v::cpu {
namespace {

constexpr int kAccumulators = 12;
constexpr int kUnroll = 8;

int64_t compute_f32(int64_t rounds) {
  __m256 acc[kAccumulators];
  for (auto& a : acc) a = _mm256_setzero_ps();
  const __m256 x = _mm256_set1_ps(0.5f), y = _mm256_set1_ps(0.25f);
  for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; u++) {
#pragma GCC unroll 12
      for (int k = 0; k < kAccumulators; k++) {
        acc[k] = _mm256_fmadd_ps(x, y, acc[k]);
        asm volatile("" : "+x"(acc[k]));
      }
    }
  }
  return rounds * kUnroll * kAccumulators * 8 * 2;
}

int64_t compute_i8(int64_t rounds) {
  __m256i acc[kAccumulators];
  for (auto& a : acc) a = _mm256_setzero_si256();
  __m256i x = _mm256_set1_epi8(3);
  const __m256i y = _mm256_set1_epi8(2), ones = _mm256_set1_epi16(1);
  for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; u++) {
#pragma GCC unroll 12
      for (int k = 0; k < kAccumulators; k++) {
        asm volatile("" : "+x"(x));  // each product is made anew
        acc[k] = _mm256_add_epi32(acc[k], _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
        asm volatile("" : "+x"(acc[k]));
      }
    }
  }
  return rounds * kUnroll * kAccumulators * 32 * 2;
}

}  // namespace

PeakCompute peak_i8_avx2() { return compute_i8; }
PeakCompute peak_f32_avx2() { return compute_f32; }

uint64_t peak_read_avx2(const char* data, int64_t bytes) {
  __m256i sum[8];
  for (auto& s : sum) s = _mm256_setzero_si256();
  for (int64_t at = 0; at < bytes; at += 256)
    for (int i = 0; i < 8; i++)
      sum[i] = _mm256_xor_si256(sum[i], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + at + 32 * i)));
  for (int i = 1; i < 8; i++) sum[0] = _mm256_xor_si256(sum[0], sum[i]);
  uint64_t words[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), sum[0]);
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

}  // namespace l3v::cpu

#include "target_end.h"
#endif
