// vecmath_avx512.h: exp, sigmoid, erf and the activations on __m512, 16 floats, for files compiled with
// target_avx512.h. Each lane is its own element: padding lanes never touch the others.
// exp is within 1 ulp or so, down to the denormals; the activations within 2e-7 of their size near
// zero and above (far in the negative tail exp's argument, rounded, costs |argument| * 6e-8).
// NaN stays NaN.
#ifndef L3V_CPU_VECMATH_AVX512_H
#define L3V_CPU_VECMATH_AVX512_H

#include <immintrin.h>

#include "llama3v.h"
#include "vecmath_coefficients.h"

namespace l3v::cpu {

// The functions are static: a copy that the linker shared between files could be one compiled for
// another target.
static inline __m512 vexp(__m512 x) {
  // max(bound, x) and not max(x, bound): the second operand wins when one is NaN.
  x = _mm512_min_ps(_mm512_set1_ps(kExpMax), _mm512_max_ps(_mm512_set1_ps(kExpMin), x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(kLog2E)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2High), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2Low), r);
  __m512 q = _mm512_set1_ps(kExp[0]);
  for (int i = 1; i < 5; i++) q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(kExp[i]));
  const __m512 p = _mm512_add_ps(_mm512_fmadd_ps(q, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

static inline __m512 vsigmoid(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 minus_x = _mm512_sub_ps(_mm512_setzero_ps(), x);
  return _mm512_div_ps(one, _mm512_add_ps(one, vexp(minus_x)));
}

static inline __m512 verf(__m512 x) {
  const __m512 sign = _mm512_set1_ps(-0.0f), one = _mm512_set1_ps(1.0f);
  const __m512 a = _mm512_min_ps(_mm512_set1_ps(4.0f), _mm512_andnot_ps(sign, x));
  const __m512 s = _mm512_mul_ps(a, a);
  __m512 p = _mm512_set1_ps(kErfSmall[0]);
  for (int i = 1; i < 7; i++) p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(kErfSmall[i]));
  p = _mm512_mul_ps(p, a);
  __m512 q = _mm512_set1_ps(kErfLarge[0]);
  for (int i = 1; i < 9; i++) q = _mm512_fmadd_ps(q, a, _mm512_set1_ps(kErfLarge[i]));
  q = _mm512_sub_ps(one, vexp(_mm512_sub_ps(_mm512_setzero_ps(), q)));
  const __m512 y = _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, one, _CMP_GT_OQ), p, q);
  return _mm512_or_ps(y, _mm512_and_ps(sign, x));
}

static inline __m512 vgelu_tanh(__m512 x) {
  const __m512 x2 = _mm512_mul_ps(x, x);
  const __m512 g = _mm512_fmadd_ps(x2, _mm512_set1_ps(kGelu3), _mm512_set1_ps(kGelu1));
  return _mm512_mul_ps(x, vsigmoid(_mm512_mul_ps(x, g)));
}
static inline __m512 vgelu_erf(__m512 x) {
  const __m512 e = verf(_mm512_mul_ps(x, _mm512_set1_ps(kInvSqrt2)));
  return _mm512_mul_ps(_mm512_mul_ps(x, _mm512_set1_ps(0.5f)), _mm512_add_ps(e, _mm512_set1_ps(1.0f)));
}
static inline __m512 vgelu_quick(__m512 x) {
  return _mm512_mul_ps(x, vsigmoid(_mm512_mul_ps(x, _mm512_set1_ps(kGeluQuick))));
}
static inline __m512 vsilu(__m512 x) { return _mm512_mul_ps(x, vsigmoid(x)); }

// activation: L3V_ACT_...
static inline __m512 vactivate(__m512 x, int32_t activation) {
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
