// element.cuh: elements of activations in memory, float32 or bfloat16, and their values in float32.
#ifndef L3V_CUDA_ELEMENT_CUH
#define L3V_CUDA_ELEMENT_CUH

#include "../common/float16.h"
#include "launch.cuh"

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

__device__ inline float round_to_bf16(float f) { return widen_bf16(round_bf16(f)); }

struct Bfloat16 {
  uint16_t bits;
};

__device__ inline float widen(float f) { return f; }
__device__ inline float widen(Bfloat16 h) { return widen_bf16(h.bits); }

// f as the element type, to nearest.
template <class T>
__device__ T narrow(float f) {
  if constexpr (sizeof(T) == sizeof f) return f;
  else return {round_bf16(f)};
}

// Row r of a view whose dtype is T's.
template <class T>
L3V_BOTH T* row_of(const Matrix& m, int64_t r) {
  return reinterpret_cast<T*>(m.data) + r * m.stride;
}

// Stores at a column of a view whose dtype the caller does not know.
__device__ inline void store(const Matrix& m, int64_t row, int64_t column, float f) {
  if (m.dtype == L3V_F32) row_of<float>(m, row)[column] = f;
  else row_of<Bfloat16>(m, row)[column] = narrow<Bfloat16>(f);
}

// What 128-bit loads and stores move.
struct alignas(16) Bytes16 {
  uint32_t words[4];
};
// Whether every row of a view begins at a multiple of 16 bytes.
inline bool aligned_rows(const Matrix& m) {
  const int64_t size = m.dtype == L3V_F32 ? 4 : 2;
  return reinterpret_cast<uintptr_t>(m.data) % 16 == 0 && m.stride * size % 16 == 0;
}

}  // namespace l3v::cuda
#endif
