// simd_scalar.h: F1, one float as a vector type, as F512 in simd_avx512.h, which says what each function
// does. For ops whose results must be the same bits in every set: one template then has all forms.
#ifndef L3V_CPU_SIMD_SCALAR_H
#define L3V_CPU_SIMD_SCALAR_H

#include <cmath>
#include <cstdint>

#include "vecmath_coefficients.h"

namespace l3v::cpu {

struct F1 {
  static constexpr int kLanes = 1;
  float v;

  static F1 all(float x) { return {x}; }
  static F1 load(const float* p) { return {*p}; }
  static F1 load(const float* p, int n, F1 rest) { return n > 0 ? F1{*p} : rest; }
  void store(float* p) const { *p = v; }
  void store(float* p, int n) const {
    if (n > 0) *p = v;
  }
};

static inline F1 operator+(F1 a, F1 b) { return {a.v + b.v}; }
static inline F1 operator-(F1 a, F1 b) { return {a.v - b.v}; }
static inline F1 operator/(F1 a, F1 b) { return {a.v / b.v}; }
static inline uint32_t greater(F1 a, F1 b) { return a.v > b.v; }
static inline uint32_t nans(F1 x) { return std::isnan(x.v); }

// vexp of vecmath_avx2.h, operation by operation.
static inline F1 exp(F1 x) {
  if (std::isnan(x.v)) return x;
  const float v = std::fmin(kExpMax, std::fmax(kExpMin, x.v));
  const float n = std::nearbyint(v * kLog2E);
  const float r = std::fma(-n, kLn2Low, std::fma(-n, kLn2High, v));
  float q = kExp[0];
  for (int i = 1; i < 5; i++) q = std::fma(q, r, kExp[i]);
  // ldexp rounds once, as the vector forms do.
  return {std::ldexp(std::fma(q, r * r, r) + 1.0f, static_cast<int>(n))};
}

}  // namespace l3v::cpu
#endif
