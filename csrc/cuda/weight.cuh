// weight.cuh: elements of weights of every type, widened to float32.
//
// Block types are ggml's (ggml/src/ggml-common.h, dequantize_row_* of ggml-quants.c); each value is
// computed in its order of float32 operations, so that it is ggml's to the last bit.
//
// One element at a time, as the plain kernels take them; dequantize.cuh has 16 bytes at a time.
#ifndef L3V_CUDA_WEIGHT_CUH
#define L3V_CUDA_WEIGHT_CUH

#include "element.cuh"
#include "weight.h"

namespace l3v::cuda {

// To nearest, ties to even; beyond 65504 infinite, a NaN stays one.
__device__ inline float round_to_f16(float f) {
#if defined(__CUDACC__)
  return __half2float(__float2half_rn(f));
#else
  const uint32_t sign = as_bits(f) & 0x80000000u;
  const float size = as_float(as_bits(f) & 0x7fffffffu);
  if (!(size < 65520.0f)) return size != size ? f : as_float(sign | 0x7f800000u);
  // 10 bits of mantissa are left where one and a half times 2^23 units of the last are added; below the
  // normal ones a unit is 2^-24.
  const uint32_t exponent = as_bits(size) & 0x7f800000u, least = (127u - 14u) << 23;
  const float shift = as_float((exponent > least ? exponent : least) + (13u << 23)) * 1.5f;
  return as_float(sign | as_bits((size + shift) - shift));
#endif
}

__device__ inline uint8_t byte_at(const char* p, int64_t i) { return static_cast<uint8_t>(p[i]); }
__device__ inline float half_at(const char* p, int64_t i) {
  return widen_f16(*reinterpret_cast<const uint16_t*>(p + i));
}

// The 16 values of IQ4_NL and IQ4_XS, -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, each in
// a byte, so that no thread keeps a table.
__device__ inline int table_value(int i) {
  const uint64_t eight = i < 8 ? 0xf6eaddcfbfad9881u : 0x7159453526190d01u;
  return static_cast<int8_t>(eight >> (i % 8 * 8));
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

// Element (row, k).
__device__ inline float weight_at(const WeightRows& w, int64_t row, int64_t k) {
  const char* line = w.data + row * w.row_bytes;
  switch (w.dtype) {
    case L3V_F32: return reinterpret_cast<const float*>(line)[k];
    case L3V_F16: return widen_f16(reinterpret_cast<const uint16_t*>(line)[k]);
    case L3V_BF16: return widen_bf16(reinterpret_cast<const uint16_t*>(line)[k]);
    default: break;
  }
  const Planes p = planes_of(w.dtype);
  const int elements = p.quants * 8 / p.low_bits, i = static_cast<int>(k % elements);
  const int64_t block = k / elements;
  const char *s = line + w.scales + block * p.scales, *f = line + w.factors + block * p.factors;
  int q = get_bits(line + block * p.quants, quants_at(w.dtype, i), p.low_bits);
  if (p.more != 0) q |= get_bits(line + w.more + block * p.more, more_at(w.dtype, i), p.more_bits) << p.low_bits;
  int scale = 0, minimum = 0;
  switch (w.dtype) {
    case L3V_Q4_0: return static_cast<float>(q - 8) * half_at(f, 0);
    case L3V_Q4_1:
    case L3V_Q5_1: return static_cast<float>(q) * half_at(f, 0) + half_at(f, 2);
    case L3V_Q5_0: return static_cast<float>(q - 16) * half_at(f, 0);
    case L3V_Q8_0: return static_cast<float>(static_cast<int8_t>(q)) * half_at(f, 0);
    case L3V_IQ4_NL: return half_at(f, 0) * static_cast<float>(table_value(q));
    case L3V_Q2_K:
      scale = byte_at(s, i / 16);
      return half_at(f, 0) * static_cast<float>(scale & 15) * static_cast<float>(q) - half_at(f, 2) * static_cast<float>(scale >> 4);
    case L3V_Q3_K:
      scale = i < 128 ? byte_at(s, i / 16) & 15 : byte_at(s, i / 16 - 8) >> 4;
      scale |= (byte_at(s, 8 + i / 16 % 4) >> (i / 64 * 2) & 3) << 4;
      return half_at(f, 0) * static_cast<float>(scale - 32) * static_cast<float>(q - 4);
    case L3V_Q4_K:
    case L3V_Q5_K:
      unpack_k(s + 4, i / 32, &scale, &minimum);
      return half_at(s, 0) * static_cast<float>(scale) * static_cast<float>(q) - half_at(s, 2) * static_cast<float>(minimum);
    case L3V_Q6_K: return half_at(f, 0) * static_cast<float>(s[i / 16]) * static_cast<float>(q - 32);
    default:  // IQ4_XS
      scale = (byte_at(s, 4 + i / 64) >> (i / 32 % 2 * 4) & 15) | ((byte_at(s, 2) | byte_at(s, 3) << 8) >> (i / 32 * 2) & 3) << 4;
      return half_at(s, 0) * static_cast<float>(scale - 32) * static_cast<float>(table_value(q));
  }
}

}  // namespace l3v::cuda
#endif
