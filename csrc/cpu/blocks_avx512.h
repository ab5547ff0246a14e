// blocks_avx512.h: sixteen rows of a packed block, the vector that blocks.h unpacks with. Included behind a
// target pragma.
#ifndef L3V_CPU_BLOCKS_AVX512_H
#define L3V_CPU_BLOCKS_AVX512_H

#include <immintrin.h>

#include "blocks.h"

namespace l3v::cpu {
namespace {

struct Rows16 {
  using I = __m512i;
  using F = __m512;
  typedef uint32_t U __attribute__((vector_size(64)));
  static constexpr int kLanes = 16;

  static L3V_INLINE I load(const uint32_t* p) { return _mm512_load_si512(p); }
  static L3V_INLINE void store(uint32_t* p, I x) { _mm512_store_si512(p, x); }
  static L3V_INLINE I widen(const uint16_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static L3V_INLINE F half(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static L3V_INLINE I srl(I x, int n) { return reinterpret_cast<I>(reinterpret_cast<U>(x) >> n); }
  static L3V_INLINE I sll(I x, int n) { return reinterpret_cast<I>(reinterpret_cast<U>(x) << n); }
  static L3V_INLINE I all(int32_t n) { return _mm512_set1_epi32(n); }
  static L3V_INLINE I mask(I x, uint32_t m) { return _mm512_and_si512(x, all(static_cast<int32_t>(m))); }
  static L3V_INLINE I join(I a, I b) { return _mm512_or_si512(a, b); }
  static L3V_INLINE I merge(I a, I x, uint32_t m) {
    return _mm512_ternarylogic_epi32(a, x, all(static_cast<int32_t>(m)), 0xf8);
  }
  static L3V_INLINE I plus(I x, int n) { return _mm512_add_epi32(x, all(n)); }
  static L3V_INLINE I signed_byte(I x, int i) { return _mm512_srai_epi32(sll(x, 24 - 8 * i), 24); }
  static L3V_INLINE I lookup(I x) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), x);
  }

  static L3V_INLINE F value(I x) { return _mm512_cvtepi32_ps(x); }
  static L3V_INLINE F bits(I x) { return _mm512_castsi512_ps(x); }
  static L3V_INLINE F all(float x) { return _mm512_set1_ps(x); }
  static L3V_INLINE F load(const float* p) { return _mm512_load_ps(p); }
  static L3V_INLINE void store(float* p, F x) { _mm512_store_ps(p, x); }
  static L3V_INLINE F times(F a, F b) { return _mm512_mul_ps(a, b); }
  static L3V_INLINE F sum(F a, F b) { return _mm512_add_ps(a, b); }
  static L3V_INLINE F negated(F a) { return _mm512_xor_ps(a, all(-0.0f)); }
  static L3V_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
};

}  // namespace
}  // namespace l3v::cpu
#endif
