// mathx.h: the activations in scalar form, the text the vector forms are read against.
#ifndef L3V_CPU_MATHX_H
#define L3V_CPU_MATHX_H

#include <cmath>
#include <cstdint>

#include "llama3v.h"
#include "vecmath_coefficients.h"

namespace l3v::cpu {

inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// 0.5 x (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3) (Hendrycks & Gimpel 2016,
// arXiv:1606.08415): the second form does not cancel for negative x.
inline float gelu_tanh(float x) { return x * sigmoid(x * (kGelu1 + kGelu3 * x * x)); }
inline float gelu_erf(float x) { return 0.5f * x * (1.0f + std::erf(x * kInvSqrt2)); }
inline float gelu_quick(float x) { return x * sigmoid(kGeluQuick * x); }
inline float silu(float x) { return x * sigmoid(x); }

// activation: L3V_ACT_...
inline float activate(float x, int32_t activation) {
  switch (activation) {
    case L3V_ACT_GELU_TANH: return gelu_tanh(x);
    case L3V_ACT_GELU_ERF: return gelu_erf(x);
    case L3V_ACT_GELU_QUICK: return gelu_quick(x);
    case L3V_ACT_SILU: return silu(x);
    default: return x;
  }
}

}  // namespace l3v::cpu
#endif
