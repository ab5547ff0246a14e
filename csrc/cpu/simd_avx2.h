// simd_avx2.h: F256, eight floats, as F512 in simd_avx512.h, which says what each function does. For
// files compiled with target_avx2.h.
#ifndef L3V_CPU_SIMD_AVX2_H
#define L3V_CPU_SIMD_AVX2_H

#include "vecmath_avx2.h"

namespace l3v::cpu {

struct F256 {
  static constexpr int kLanes = 8;
  // 16 registers: 4 x 3 or 4 x 2 sums, a row of 3 or 2 operands and one broadcast.
  static constexpr int kTileRows = 4, kTileColumns = 3, kPanelVectors = 2;

  __m256 v;

  static F256 zero() { return {_mm256_setzero_ps()}; }
  static F256 all(float x) { return {_mm256_set1_ps(x)}; }
  static F256 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static F256 load(const float* p, int n, F256 rest) {
    const __m256i m = first(n);
    return {_mm256_blendv_ps(rest.v, _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m))};
  }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void store(float* p, int n) const { _mm256_maskstore_ps(p, first(n), v); }

  static void transpose(const float* const* rows, int n, float* out, int64_t stride) {
    for (int j = 0; j < n; j += 4) {
      const __m128i m = _mm256_castsi256_si128(first(n - j < 4 ? n - j : 4));
      __m256 t[4];
      for (int i = 0; i < 4; i++)
        t[i] = _mm256_set_m128(_mm_maskload_ps(rows[4 + i] + j, m), _mm_maskload_ps(rows[i] + j, m));
      const __m256 a = _mm256_unpacklo_ps(t[0], t[1]), b = _mm256_unpackhi_ps(t[0], t[1]);
      const __m256 c = _mm256_unpacklo_ps(t[2], t[3]), d = _mm256_unpackhi_ps(t[2], t[3]);
      const __m256 y[4] = {
          _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(c))),
          _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(c))),
          _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(b), _mm256_castps_pd(d))),
          _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(b), _mm256_castps_pd(d)))};
      for (int i = 0; i < 4 && j + i < n; i++) _mm256_storeu_ps(out + (j + i) * stride, y[i]);
    }
  }

 private:
  static __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

// Not friends of the class: gcc 12 compiles those without the target.
static inline F256 operator+(F256 a, F256 b) { return {_mm256_add_ps(a.v, b.v)}; }
static inline F256 operator-(F256 a, F256 b) { return {_mm256_sub_ps(a.v, b.v)}; }
static inline F256 operator*(F256 a, F256 b) { return {_mm256_mul_ps(a.v, b.v)}; }
static inline F256 operator/(F256 a, F256 b) { return {_mm256_div_ps(a.v, b.v)}; }
static inline F256 fma(F256 a, F256 b, F256 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
static inline F256 max(F256 a, F256 b) { return {_mm256_max_ps(a.v, b.v)}; }
static inline F256 exp(F256 x) { return {vexp(x.v)}; }
static inline F256 activate(F256 x, int32_t activation) { return {vactivate(x.v, activation)}; }
static inline float total(F256 x) {
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
static inline float largest(F256 x) {
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
static inline uint32_t greater(F256 a, F256 b) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)));
}
static inline uint32_t nans(F256 x) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q)));
}
static inline F256 where_equal(F256 a, F256 b, F256 yes, F256 no) {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ))};
}

}  // namespace l3v::cpu
#endif
