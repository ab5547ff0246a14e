// weight.cuh: elements of weights of every type, widened to float32.
//
// Block types are ggml's (ggml/src/ggml-common.h, dequantize_row_* of ggml-quants.c); each value is
// computed in its order of float32 operations, so that it is ggml's to the last bit. Blocks are a
// multiple of two bytes long, and are read two bytes at a time at most.
#ifndef L3V_CUDA_WEIGHT_CUH
#define L3V_CUDA_WEIGHT_CUH

#include "launch.cuh"
#include "weight.h"

namespace l3v::cuda {

__device__ inline float as_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}
__device__ inline uint32_t as_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

__device__ inline float widen_bf16(uint16_t h) { return as_float(static_cast<uint32_t>(h) << 16); }

// To nearest, ties to even; a NaN stays one.
__device__ inline float round_to_bf16(float f) {
  const uint32_t bits = as_bits(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return as_float((bits & 0xffff0000u) | 0x00400000u);
  return as_float((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
}

// IEEE binary16, denormals included.
__device__ inline float widen_f16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(h & 0x7fffu) << 13;
  if (rest >= 0x0f800000u) return as_float(sign | rest | 0x7f800000u | ((rest & 0x007fffffu) != 0 ? 0x00400000u : 0));
  if (rest >= 0x00800000u) return as_float(sign | (rest + 0x38000000u));
  return as_float(sign | as_bits(static_cast<float>(h & 0x03ffu) * 5.9604644775390625e-8f));
}

__device__ inline uint8_t byte_at(const char* p, int i) { return static_cast<uint8_t>(p[i]); }
__device__ inline float half_at(const char* p, int i) {
  return widen_f16(*reinterpret_cast<const uint16_t*>(p + i));
}
// The low four bits of each byte are elements 0..15 of a block of 32, the high ones 16..31.
__device__ inline int nibble(const char* quants, int i) {
  const int b = byte_at(quants, i & 15);
  return i < 16 ? b & 15 : b >> 4;
}
// Bit i of 32 that lie in four bytes.
__device__ inline int bit_of(const char* bits, int i) { return byte_at(bits, i / 8) >> (i % 8) & 1; }

// The 16 values of IQ4_NL and IQ4_XS, each in a byte of two words.
__device__ inline int table_value(int i) {
  constexpr int8_t kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return kValues[i];
}

// Scale and minimum of sub-block j of Q4_K and Q5_K, six bits each, packed in twelve bytes.
__device__ inline void unpack_k(const char* s, int j, int* scale, int* minimum) {
  if (j < 4) {
    *scale = byte_at(s, j) & 63;
    *minimum = byte_at(s, j + 4) & 63;
  } else {
    *scale = (byte_at(s, j + 4) & 15) | (byte_at(s, j - 4) >> 6) << 4;
    *minimum = byte_at(s, j + 4) >> 4 | (byte_at(s, j) >> 6) << 4;
  }
}

__device__ inline float q2_k(const char* b, int i) {
  const int half = i / 128, j = i % 128 / 32, l = i % 32;
  const int s = byte_at(b, 8 * half + 2 * j + l / 16);
  const int q = byte_at(b, 16 + 32 * half + l) >> (2 * j) & 3;
  return half_at(b, 80) * static_cast<float>(s & 15) * static_cast<float>(q) - half_at(b, 82) * static_cast<float>(s >> 4);
}
__device__ inline float q3_k(const char* b, int i) {
  const int half = i / 128, j = i % 128 / 32, l = i % 32, k = 8 * half + 2 * j + l / 16;
  const char* scales = b + 96;
  const int low = k < 8 ? byte_at(scales, k) & 15 : byte_at(scales, k - 8) >> 4;
  const int scale = low | (byte_at(scales, 8 + k % 4) >> (2 * (k / 4)) & 3) << 4;
  const int q = (byte_at(b, 32 + 32 * half + l) >> (2 * j) & 3) - ((byte_at(b, l) >> (4 * half + j) & 1) != 0 ? 0 : 4);
  return half_at(b, 108) * static_cast<float>(scale - 32) * static_cast<float>(q);
}
__device__ inline float q4_k(const char* b, int i) {
  int scale, minimum;
  unpack_k(b + 4, i / 32, &scale, &minimum);
  const int v = byte_at(b, 16 + i / 64 * 32 + i % 32), q = i % 64 < 32 ? v & 15 : v >> 4;
  return half_at(b, 0) * static_cast<float>(scale) * static_cast<float>(q) - half_at(b, 2) * static_cast<float>(minimum);
}
__device__ inline float q5_k(const char* b, int i) {
  int scale, minimum;
  unpack_k(b + 4, i / 32, &scale, &minimum);
  const int v = byte_at(b, 48 + i / 64 * 32 + i % 32);
  const int q = (i % 64 < 32 ? v & 15 : v >> 4) + (byte_at(b, 16 + i % 32) >> (i / 32) & 1) * 16;
  return half_at(b, 0) * static_cast<float>(scale) * static_cast<float>(q) - half_at(b, 2) * static_cast<float>(minimum);
}
__device__ inline float q6_k(const char* b, int i) {
  const int half = i / 128, t = i % 128 / 32, l = i % 32;
  const int low = byte_at(b, 64 * half + l + t % 2 * 32), high = byte_at(b, 128 + 32 * half + l);
  const int q = (t < 2 ? low & 15 : low >> 4) | (high >> (2 * t) & 3) << 4;
  const int scale = static_cast<int8_t>(b[192 + 8 * half + l / 16 + 2 * t]);
  return half_at(b, 208) * static_cast<float>(scale) * static_cast<float>(q - 32);
}
__device__ inline float iq4_xs(const char* b, int i) {
  const int j = i / 32, high = byte_at(b, 2) | byte_at(b, 3) << 8;
  const int scale = (byte_at(b, 4 + j / 2) >> (4 * (j % 2)) & 15) | (high >> (2 * j) & 3) << 4;
  return half_at(b, 0) * static_cast<float>(scale - 32) * static_cast<float>(table_value(nibble(b + 8 + 16 * j, i % 32)));
}

// Element (row, k).
__device__ inline float weight_at(const WeightRows& w, int64_t row, int64_t k) {
  const char* line = w.data + row * w.row_bytes;
  const int i32 = static_cast<int>(k % 32), i256 = static_cast<int>(k % 256);
  switch (w.dtype) {
    case L3V_F32: return reinterpret_cast<const float*>(line)[k];
    case L3V_F16: return widen_f16(reinterpret_cast<const uint16_t*>(line)[k]);
    case L3V_BF16: return widen_bf16(reinterpret_cast<const uint16_t*>(line)[k]);
    case L3V_Q4_0: {
      const char* b = line + k / 32 * 18;
      return static_cast<float>(nibble(b + 2, i32) - 8) * half_at(b, 0);
    }
    case L3V_Q4_1: {
      const char* b = line + k / 32 * 20;
      return static_cast<float>(nibble(b + 4, i32)) * half_at(b, 0) + half_at(b, 2);
    }
    case L3V_Q5_0: {
      const char* b = line + k / 32 * 22;
      return static_cast<float>((nibble(b + 6, i32) | bit_of(b + 2, i32) << 4) - 16) * half_at(b, 0);
    }
    case L3V_Q5_1: {
      const char* b = line + k / 32 * 24;
      return static_cast<float>(nibble(b + 8, i32) | bit_of(b + 4, i32) << 4) * half_at(b, 0) + half_at(b, 2);
    }
    case L3V_Q8_0: {
      const char* b = line + k / 32 * 34;
      return static_cast<float>(static_cast<int8_t>(b[2 + i32])) * half_at(b, 0);
    }
    case L3V_IQ4_NL: {
      const char* b = line + k / 32 * 18;
      return half_at(b, 0) * static_cast<float>(table_value(nibble(b + 2, i32)));
    }
    case L3V_Q2_K: return q2_k(line + k / 256 * 84, i256);
    case L3V_Q3_K: return q3_k(line + k / 256 * 110, i256);
    case L3V_Q4_K: return q4_k(line + k / 256 * 144, i256);
    case L3V_Q5_K: return q5_k(line + k / 256 * 176, i256);
    case L3V_Q6_K: return q6_k(line + k / 256 * 210, i256);
    default: return iq4_xs(line + k / 256 * 136, i256);
  }
}

}  // namespace l3v::cuda
#endif
