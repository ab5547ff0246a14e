// vecmath_avx2.h: exp, sigmoid, erf and the activations on __m256, 8 floats, for files compiled with
// target_avx2.h. Each lane is its own element: padding lanes never touch the others.
// exp is within 1 ulp or so, down to the denormals; the activations within 2e-7 of their size near
// zero and above (far in the negative tail exp's argument, rounded, costs |argument| * 6e-8).
// NaN stays NaN.
#ifndef L3V_CPU_VECMATH_AVX2_H
#define L3V_CPU_VECMATH_AVX2_H

#include <immintrin.h>

#include "llama3v.h"
#include "vecmath_coefficients.h"

namespace l3v::cpu {

// The functions are static: a copy that the linker shared between files could be one compiled for
// another target.
static inline __m256 vexp(__m256 x) {
  // max(bound, x) and not max(x, bound): the second operand wins when one is NaN.
  x = _mm256_min_ps(_mm256_set1_ps(kExpMax), _mm256_max_ps(_mm256_set1_ps(kExpMin), x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(kLog2E)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2High), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2Low), r);
  __m256 q = _mm256_set1_ps(kExp[0]);
  for (int i = 1; i < 5; i++) q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(kExp[i]));
  const __m256 p = _mm256_add_ps(_mm256_fmadd_ps(q, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
  // 2^n in two factors, as n reaches -150 and 128: the first product is exact, the second rounds.
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
  const __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
  const __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(p, a), b);
}

static inline __m256 vsigmoid(__m256 x) {
  const __m256 one = _mm256_set1_ps(1.0f);
  const __m256 minus_x = _mm256_sub_ps(_mm256_setzero_ps(), x);
  return _mm256_div_ps(one, _mm256_add_ps(one, vexp(minus_x)));
}

static inline __m256 verf(__m256 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
  const __m256 a = _mm256_min_ps(_mm256_set1_ps(4.0f), _mm256_andnot_ps(sign, x));
  const __m256 s = _mm256_mul_ps(a, a);
  __m256 p = _mm256_set1_ps(kErfSmall[0]);
  for (int i = 1; i < 7; i++) p = _mm256_fmadd_ps(p, s, _mm256_set1_ps(kErfSmall[i]));
  p = _mm256_mul_ps(p, a);
  __m256 q = _mm256_set1_ps(kErfLarge[0]);
  for (int i = 1; i < 9; i++) q = _mm256_fmadd_ps(q, a, _mm256_set1_ps(kErfLarge[i]));
  q = _mm256_sub_ps(one, vexp(_mm256_sub_ps(_mm256_setzero_ps(), q)));
  const __m256 y = _mm256_blendv_ps(p, q, _mm256_cmp_ps(a, one, _CMP_GT_OQ));
  return _mm256_or_ps(y, _mm256_and_ps(sign, x));
}

static inline __m256 vgelu_tanh(__m256 x) {
  const __m256 x2 = _mm256_mul_ps(x, x);
  const __m256 g = _mm256_fmadd_ps(x2, _mm256_set1_ps(kGelu3), _mm256_set1_ps(kGelu1));
  return _mm256_mul_ps(x, vsigmoid(_mm256_mul_ps(x, g)));
}
static inline __m256 vgelu_erf(__m256 x) {
  const __m256 e = verf(_mm256_mul_ps(x, _mm256_set1_ps(kInvSqrt2)));
  return _mm256_mul_ps(_mm256_mul_ps(x, _mm256_set1_ps(0.5f)), _mm256_add_ps(e, _mm256_set1_ps(1.0f)));
}
static inline __m256 vgelu_quick(__m256 x) {
  return _mm256_mul_ps(x, vsigmoid(_mm256_mul_ps(x, _mm256_set1_ps(kGeluQuick))));
}
static inline __m256 vsilu(__m256 x) { return _mm256_mul_ps(x, vsigmoid(x)); }

// activation: L3V_ACT_...
static inline __m256 vactivate(__m256 x, int32_t activation) {
  switch (activation) {
    case L3V_ACT_GELU_TANH: return vgelu_tanh(x);
    case L3V_ACT_GELU_ERF: return vgelu_erf(x);
    case L3V_ACT_GELU_QUICK: return vgelu_quick(x);
    case L3V_ACT_SILU: return vsilu(x);
    default: return x;
  }
}

}  // namespace l3v::cpu
#endif
