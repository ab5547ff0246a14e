// simd_avx512.h: F512, sixteen floats, the vector type that <op>_simd.h is instantiated with in
// kernels_avx512.cpp. For files compiled with target_avx512.h.
//
// What a vector type V offers, here as in simd_avx2.h and simd_neon.h:
//   kLanes; zero, all(x); load, store; load(p, n, rest), store(p, n) for the first n < kLanes lanes
//   + - * /, fma(a, b, c) = a b + c, max(a, b) (b when either is NaN), exp, activate
//   total(v), largest(v): over the lanes, in one fixed order
//   greater(a, b), nans(v): a bit a lane, lane 0 lowest; where_equal(a, b, yes, no)
//   transpose: kLanes rows to columns
//   kTileRows, kTileColumns, kPanelVectors: the register tiles of attention_simd.h
#ifndef L3V_CPU_SIMD_AVX512_H
#define L3V_CPU_SIMD_AVX512_H

#include "vecmath_avx512.h"

namespace l3v::cpu {

struct F512 {
  static constexpr int kLanes = 16;
  // 32 registers: 5 x 5 or 5 x 4 sums, a row of 4 or 5 operands and one broadcast.
  static constexpr int kTileRows = 5, kTileColumns = 5, kPanelVectors = 4;

  __m512 v;

  static F512 zero() { return {_mm512_setzero_ps()}; }
  static F512 all(float x) { return {_mm512_set1_ps(x)}; }
  static F512 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static F512 load(const float* p, int n, F512 rest) {
    return {_mm512_mask_loadu_ps(rest.v, first(n), p)};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), v); }

  // out[j * stride + i] = rows[i][j] for i < 16 and j < n; nothing behind rows[i][n - 1] is
  // read. Four rows go into the 128-bit lanes of a register as they are loaded, which leaves two
  // rounds of shuffles where the usual way has four.
  static void transpose(const float* const* rows, int n, float* out, int64_t stride) {
    for (int j = 0; j < n; j += 4) {
      const __mmask8 m = n - j < 4 ? static_cast<__mmask8>((1u << (n - j)) - 1) : 0xf;
      __m512 t[4];
      for (int i = 0; i < 4; i++) {
        const __m256 low = _mm256_set_m128(_mm_maskz_loadu_ps(m, rows[4 + i] + j),
                                           _mm_maskz_loadu_ps(m, rows[i] + j));
        const __m256 high = _mm256_set_m128(_mm_maskz_loadu_ps(m, rows[12 + i] + j),
                                            _mm_maskz_loadu_ps(m, rows[8 + i] + j));
        t[i] = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
      }
      // Lane l of t[i] is row 4 l + i: a 4 x 4 transpose inside each lane.
      const __m512 a = _mm512_unpacklo_ps(t[0], t[1]), b = _mm512_unpackhi_ps(t[0], t[1]);
      const __m512 c = _mm512_unpacklo_ps(t[2], t[3]), d = _mm512_unpackhi_ps(t[2], t[3]);
      const __m512 y[4] = {
          _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c))),
          _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c))),
          _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d))),
          _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)))};
      for (int i = 0; i < 4 && j + i < n; i++) _mm512_storeu_ps(out + (j + i) * stride, y[i]);
    }
  }

 private:
  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
};

// Not friends of the class: gcc 12 compiles those without the target.
static inline F512 operator+(F512 a, F512 b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline F512 operator-(F512 a, F512 b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline F512 operator*(F512 a, F512 b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline F512 operator/(F512 a, F512 b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline F512 fma(F512 a, F512 b, F512 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline F512 max(F512 a, F512 b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline F512 exp(F512 x) { return {vexp(x.v)}; }
static inline F512 activate(F512 x, int32_t activation) { return {vactivate(x.v, activation)}; }
static inline float total(F512 x) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
static inline float largest(F512 x) {
  const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
static inline uint32_t greater(F512 a, F512 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
static inline uint32_t nans(F512 x) { return _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q); }
// yes where a == b, else no.
static inline F512 where_equal(F512 a, F512 b, F512 yes, F512 no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ), no.v, yes.v)};
}

}  // namespace l3v::cpu
#endif
