// numbers.h: 16-bit floats on the emulator.
#ifndef L3V_EMU_NUMBERS_H
#define L3V_EMU_NUMBERS_H

#include <cstdint>
#include <cstring>
#include <vector>

namespace emu::cuda {

inline float float_of(uint32_t bits) {
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}
inline uint32_t bits_of(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, sizeof bits);
  return bits;
}

inline float widen_half(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 0x3FFu;
  if (exponent == 31) return float_of(sign | 0x7F800000u | fraction << 13);
  if (exponent == 0) return (sign != 0 ? -1.0f : 1.0f) * static_cast<float>(fraction) * 0x1p-24f;
  return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

// All 65536 values: products look theirs up.
inline const float* halves() {
  static const std::vector<float> table = [] {
    std::vector<float> all(65536);
    for (uint32_t i = 0; i < 65536; i++) all[i] = widen_half(static_cast<uint16_t>(i));
    return all;
  }();
  return table.data();
}

inline float widen(uint16_t bits, bool bf16, const float* half) {
  return bf16 ? float_of(static_cast<uint32_t>(bits) << 16) : half[bits];
}

}  // namespace emu::cuda
#endif
