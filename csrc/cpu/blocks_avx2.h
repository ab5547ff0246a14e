// blocks_avx2.h: eight rows of a packed block, the vector that blocks.h unpacks with. Included behind a
// target pragma.
#ifndef L3V_CPU_BLOCKS_AVX2_H
#define L3V_CPU_BLOCKS_AVX2_H

#include <immintrin.h>

#include "blocks.h"

namespace l3v::cpu {
namespace {

struct Rows8 {
  using I = __m256i;
  using F = __m256;
  typedef uint32_t U __attribute__((vector_size(32)));
  static constexpr int kLanes = 8;

  static L3V_INLINE I load(const uint32_t* p) { return _mm256_load_si256(reinterpret_cast<const I*>(p)); }
  static L3V_INLINE void store(uint32_t* p, I x) { _mm256_store_si256(reinterpret_cast<I*>(p), x); }
  static L3V_INLINE I widen(const uint16_t* p) {
    return _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static L3V_INLINE F half(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static L3V_INLINE I srl(I x, int n) { return reinterpret_cast<I>(reinterpret_cast<U>(x) >> n); }
  static L3V_INLINE I sll(I x, int n) { return reinterpret_cast<I>(reinterpret_cast<U>(x) << n); }
  static L3V_INLINE I all(int32_t n) { return _mm256_set1_epi32(n); }
  static L3V_INLINE I mask(I x, uint32_t m) { return _mm256_and_si256(x, all(static_cast<int32_t>(m))); }
  static L3V_INLINE I join(I a, I b) { return _mm256_or_si256(a, b); }
  static L3V_INLINE I merge(I a, I x, uint32_t m) { return join(a, mask(x, m)); }
  static L3V_INLINE I plus(I x, int n) { return _mm256_add_epi32(x, all(n)); }
  static L3V_INLINE I signed_byte(I x, int i) { return _mm256_srai_epi32(sll(x, 24 - 8 * i), 24); }
  static L3V_INLINE I lookup(I x) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), x);
  }

  static L3V_INLINE F value(I x) { return _mm256_cvtepi32_ps(x); }
  static L3V_INLINE F bits(I x) { return _mm256_castsi256_ps(x); }
  static L3V_INLINE F all(float x) { return _mm256_set1_ps(x); }
  static L3V_INLINE F load(const float* p) { return _mm256_load_ps(p); }
  static L3V_INLINE void store(float* p, F x) { _mm256_store_ps(p, x); }
  static L3V_INLINE F times(F a, F b) { return _mm256_mul_ps(a, b); }
  static L3V_INLINE F sum(F a, F b) { return _mm256_add_ps(a, b); }
  static L3V_INLINE F negated(F a) { return _mm256_xor_ps(a, all(-0.0f)); }
  static L3V_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
};

}  // namespace
}  // namespace l3v::cpu
#endif
