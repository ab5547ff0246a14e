// float16.h: the two 16-bit float types, one value at a time, on the host and in a GPU's kernels.
#ifndef L3V_COMMON_FLOAT16_H
#define L3V_COMMON_FLOAT16_H

#include <cstdint>
#include <cstring>

#include "both.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace l3v {

// bfloat16 is the upper half of a float.
L3V_BOTH static inline float widen_bf16(uint16_t h) {
  const uint32_t bits = static_cast<uint32_t>(h) << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

// Rounds to nearest, ties to even; a NaN stays one (its quiet bit is set, so that cutting the
// lower half cannot leave an infinity).
L3V_BOTH static inline uint16_t round_bf16(float f) {
#if defined(__CUDA_ARCH__)
  return __bfloat16_as_ushort(__float2bfloat16_rn(f));
#else
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

// IEEE binary16, denormals included.
L3V_BOTH static inline float widen_f16(uint16_t h) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(h));
#else
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(h & 0x7fffu) << 13;  // exponent and mantissa in place
  uint32_t bits;
  float f;
  if (rest >= 0x0f800000u) {  // infinity or NaN; a NaN turns quiet, as the processors' conversions do
    bits = rest | 0x7f800000u;
    if (bits & 0x007fffffu) bits |= 0x00400000u;
  } else if (rest >= 0x00800000u) {  // normal: the bias grows from 15 to 127
    bits = rest + 0x38000000u;
  } else {  // zero or denormal: mantissa * 2^-24
    f = static_cast<float>(h & 0x03ffu) * 5.9604644775390625e-8f;
    memcpy(&bits, &f, sizeof bits);
  }
  bits |= sign;
  memcpy(&f, &bits, sizeof f);
  return f;
#endif
}

}  // namespace l3v
#endif
