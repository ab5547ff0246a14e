// quantized.h: rows of x as int8 with a scale for each 32 values, for compute L3V_I8.
//
//   d = max |x| / 127, q = round_even(x * (127 / max |x|))
// d keeps 22 bits of its mantissa (nearest): then d * 1.5 * 2^23 is exact, and
//   float(isum) * d = fma(1.5 * 2^23 + isum, d, -1.5 * 2^23 * d)
// bit for bit, where the sum in float has just the bits of the integer 0x4b400000 + isum. So an
// accumulator that starts from there needs no conversion: two instructions a run instead of three.
//
// Values of 2^104 and more (2e31), infinities and NaN make d a NaN, and with it every output of the
// row. A block below 2^-119 (1.5e-36), whose scale would be no normal float, counts as zeros.
#ifndef L3V_CPU_QUANTIZED_H
#define L3V_CPU_QUANTIZED_H

#include <cstdint>
#include <cstring>

#include "blocks.h"

namespace l3v::cpu {
namespace {

constexpr int32_t kMagic = 0x4b400000;      // the bits of
constexpr float kMagicValue = 12582912.0f;  // 1.5 * 2^23

inline uint32_t float_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float bits_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The 32 values from x on; returns d.
inline float quantize_chunk(const float* x, int8_t* q) {
  uint32_t bits[kChunk];
  std::memcpy(bits, x, sizeof bits);
  int32_t top = 0;  // magnitudes compare as integers, NaN above all
  for (int i = 0; i < kChunk; i++) {
    const int32_t magnitude = static_cast<int32_t>(bits[i] & 0x7fffffffu);
    top = magnitude > top ? magnitude : top;
  }
  const float most = bits_float(static_cast<uint32_t>(top));
  const bool finite = top < static_cast<int32_t>(float_bits(0x1p104f));
  const bool zero = top < static_cast<int32_t>(float_bits(0x1p-119f));
  const float inverse = finite && !zero ? 127.0f / most : 0.0f;
  int32_t rounded[kChunk];
  for (int i = 0; i < kChunk; i++) {
    const float y = x[i] * inverse + kMagicValue;  // rounds to an integer
    std::memcpy(rounded + i, &y, sizeof y);
  }
  if (!finite) {
    std::memset(q, 0, kChunk);
    return bits_float(0x7fc00000u);
  }
  for (int i = 0; i < kChunk; i++) q[i] = static_cast<int8_t>(rounded[i] - kMagic);
  return zero ? 0.0f : bits_float((float_bits(most / 127.0f) + 2) & ~3u);
}

inline int32_t sum_of(const int8_t* q, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; i++) sum += q[i];
  return sum;
}

// Rows of x side by side, as kernels take them. For each run of kRun values, of `rows` rows:
//   int8   q      [kRun / 4][rows][4]
//   int32  start  [rows]   kMagic - zero * sum(q): what an accumulator starts from
//   float  d      [rows]
//   float  shift  [rows]   -1.5 * 2^23 * d
//   float  dsum   [rows]   d * float(sum(q)), what an offset is multiplied with
template <int kRun>
constexpr int64_t run_bytes(int64_t rows) {
  return rows * (kRun + 16);
}

template <int kRun>
void quantize_rows(const float* x, int64_t stride, int64_t rows, int64_t cols, int32_t zero, char* out) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t k = 0; k < cols; k += kChunk) {
      int8_t q[kChunk];
      const float d = quantize_chunk(x + r * stride + k, q);
      for (int i = 0; i < kChunk; i += kRun) {
        char* const run = out + (k + i) / kRun * run_bytes<kRun>(rows);
        for (int g = 0; g < kRun / 4; g++) std::memcpy(run + (g * rows + r) * 4, q + i + 4 * g, 4);
        const int32_t sum = sum_of(q + i, kRun), start = kMagic - zero * sum;
        const float scales[3] = {d, -kMagicValue * d, d * static_cast<float>(sum)};
        char* const to = run + rows * kRun + r * 4;
        std::memcpy(to, &start, 4);
        for (int n = 0; n < 3; n++) std::memcpy(to + (n + 1) * rows * 4, scales + n, 4);
      }
    }
}

}  // namespace
}  // namespace l3v::cpu
#endif
