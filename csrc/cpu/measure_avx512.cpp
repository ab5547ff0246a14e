// measure_avx512.cpp: 512-bit peak loops.
#if defined(__x86_64__)

#include <immintrin.h>

#include "measure.h"
#include "target_avx512bf16.h"

namespace l3v::cpu {
namespace {

constexpr int kAccumulators = 12;
constexpr int kUnroll = 8;

int64_t compute_f32(int64_t rounds) {
  __m512 acc[kAccumulators];
  for (auto& a : acc) a = _mm512_setzero_ps();
  const __m512 x = _mm512_set1_ps(0.5f), y = _mm512_set1_ps(0.25f);
  for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; u++) {
#pragma GCC unroll 12
      for (int k = 0; k < kAccumulators; k++) {
        acc[k] = _mm512_fmadd_ps(x, y, acc[k]);
        asm volatile("" : "+v"(acc[k]));
      }
    }
  }
  return rounds * kUnroll * kAccumulators * 16 * 2;
}

int64_t compute_bf16(int64_t rounds) {
  __m512 acc[kAccumulators];
  for (auto& a : acc) a = _mm512_setzero_ps();
  const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3F00));  // 0.5
  const __m512bh y = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3E80));  // 0.25
  for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; u++) {
#pragma GCC unroll 12
      for (int k = 0; k < kAccumulators; k++) {
        acc[k] = _mm512_dpbf16_ps(acc[k], x, y);
        asm volatile("" : "+v"(acc[k]));
      }
    }
  }
  return rounds * kUnroll * kAccumulators * 32 * 2;
}

}  // namespace

PeakCompute peak_f32_avx512() { return compute_f32; }
PeakCompute peak_bf16_avx512() { return compute_bf16; }

uint64_t peak_read_avx512(const char* data, int64_t bytes) {
  __m512i sum[8];
  for (auto& s : sum) s = _mm512_setzero_si512();
  for (int64_t at = 0; at < bytes; at += 512)
    for (int i = 0; i < 8; i++) sum[i] = _mm512_xor_si512(sum[i], _mm512_loadu_si512(data + at + 64 * i));
  for (int i = 1; i < 8; i++) sum[0] = _mm512_xor_si512(sum[0], sum[i]);
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sum[0]));
}

}  // namespace l3v::cpu

#include "target_end.h"
#endif
