// weight.h: a weight matrix on the device, and where the parts of its blocks lie.
//
// Each row begins at a multiple of 16 bytes, row_bytes behind the one before, and is zero where it is
// padded. Rows of float types are the file's. Rows of block types are cut into planes, each at a
// multiple of 16 bytes of the row, so that neighbouring threads read neighbouring 16 bytes of quants
// whatever a block's own length is; the bits of a plane are the file's, and no bit is added:
//
//   quants   the low 4 (2, 8) bits of each value in the order of the row: those of value i of a word
//            are its bits 4i (2i, 8i) and up
//   more     the bits above, of Q5_0, Q5_1, Q5_K, Q6_K and Q3_K, so that one shift of a word puts
//            them right above the low bits of eight values at once (more_at)
//   scales   the small integers of a block of 256, as they came; of Q4_K, Q5_K and IQ4_XS with the
//            block's float16 factors before them, as they came
//   factors  the float16 factors of the others, as they came
#ifndef L3V_CUDA_WEIGHT_H
#define L3V_CUDA_WEIGHT_H

#include <cuda_runtime.h>

#include "../common/backend.h"
#include "memory.h"

namespace l3v::cuda {

// Bytes that a block has in each plane, and where the two that are copied lie in the file's block.
struct Planes {
  int32_t quants, more, scales, factors;
  int32_t scales_at, factors_at;
  int32_t low_bits, more_bits;  // of a value
};

L3V_BOTH constexpr Planes planes_of(int32_t dtype) {
  switch (dtype) {
    case L3V_Q4_0: return {16, 0, 0, 2, 0, 0, 4, 0};
    case L3V_Q4_1: return {16, 0, 0, 4, 0, 0, 4, 0};
    case L3V_Q5_0: return {16, 4, 0, 2, 0, 0, 4, 1};
    case L3V_Q5_1: return {16, 4, 0, 4, 0, 0, 4, 1};
    case L3V_Q8_0: return {32, 0, 0, 2, 0, 0, 8, 0};
    case L3V_Q2_K: return {64, 0, 16, 4, 0, 80, 2, 0};
    case L3V_Q3_K: return {64, 32, 12, 2, 96, 108, 2, 1};
    case L3V_Q4_K: return {128, 0, 16, 0, 0, 0, 4, 0};
    case L3V_Q5_K: return {128, 32, 16, 0, 0, 0, 4, 1};
    case L3V_Q6_K: return {128, 64, 16, 2, 192, 208, 4, 2};
    case L3V_IQ4_NL: return {16, 0, 0, 2, 0, 0, 4, 0};
    case L3V_IQ4_XS: return {128, 0, 8, 0, 0, 0, 4, 0};
    default: return {0, 0, 0, 0, 0, 0, 0, 0};
  }
}

// Some bits of a value in a block of the file, or in a block's bytes of a plane.
struct Bits {
  int32_t byte, shift;
};

L3V_BOTH inline int32_t get_bits(const char* from, Bits at, int32_t width) {
  return static_cast<uint8_t>(from[at.byte]) >> at.shift & ((1 << width) - 1);
}
// Where they are zero.
L3V_BOTH inline void put_bits(char* to, Bits at, int32_t value) {
  to[at.byte] = static_cast<char>(static_cast<uint8_t>(to[at.byte]) | value << at.shift);
}

// Where the file's block has the low bits of value i, and those above.
L3V_BOTH constexpr Bits file_low(int32_t dtype, int32_t i) {
  const int32_t half = i / 128, in_half = i % 128, l = i % 32, nibble = i % 32 < 16 ? 0 : 4;
  switch (dtype) {
    case L3V_Q4_0:
    case L3V_IQ4_NL: return {2 + i % 16, nibble};
    case L3V_Q4_1: return {4 + i % 16, nibble};
    case L3V_Q5_0: return {6 + i % 16, nibble};
    case L3V_Q5_1: return {8 + i % 16, nibble};
    case L3V_Q8_0: return {2 + i, 0};
    case L3V_Q2_K: return {16 + 32 * half + l, in_half / 32 * 2};
    case L3V_Q3_K: return {32 + 32 * half + l, in_half / 32 * 2};
    case L3V_Q4_K: return {16 + i / 64 * 32 + l, i % 64 / 32 * 4};
    case L3V_Q5_K: return {48 + i / 64 * 32 + l, i % 64 / 32 * 4};
    case L3V_Q6_K: return {64 * half + in_half % 64, in_half / 64 * 4};
    default: return {8 + i / 32 * 16 + i % 16, nibble};  // IQ4_XS
  }
}
L3V_BOTH constexpr Bits file_more(int32_t dtype, int32_t i) {
  switch (dtype) {
    case L3V_Q5_0: return {2 + i / 8, i % 8};
    case L3V_Q5_1: return {4 + i / 8, i % 8};
    case L3V_Q5_K: return {16 + i % 32, i / 32};
    case L3V_Q3_K: return {i % 32, i / 32};
    default: return {128 + i / 128 * 32 + i % 32, i % 128 / 32 * 2};  // Q6_K
  }
}

// The same in the planes. Of eight values v of word w of 4-bit quants, the bits of v lie at 4v of a
// word of more, moved up by w for one bit, by 2 (w % 2) for two; of sixteen values of word w of
// 2-bit quants at 2v, moved up by w % 2.
L3V_BOTH constexpr Bits quants_at(int32_t dtype, int32_t i) {
  const int32_t bits = planes_of(dtype).low_bits * i;
  return {bits / 8, bits % 8};
}
L3V_BOTH constexpr Bits more_at(int32_t dtype, int32_t i) {
  int32_t bits = 0;
  if (dtype == L3V_Q3_K) bits = i / 32 * 32 + i % 16 * 2 + i / 16 % 2;
  else if (dtype == L3V_Q6_K) bits = i / 16 * 32 + i % 8 * 4 + i / 8 % 2 * 2;
  else bits = i / 32 * 32 + i % 8 * 4 + i / 8 % 4;
  return {bits / 8, bits % 8};
}

struct WeightRows {
  const char* data;
  int64_t row_bytes, rows, cols;
  int64_t more, scales, factors;  // where these planes begin in a row; quants are at 0
  int32_t dtype;
};

// Rows first to first + rows - 1 of data lie at their places as they came: cuts them into planes there.
// Queued; the first failure of the runtime. A row in planes has at most most_row_bytes, on a card whose
// blocks may have so much shared memory.
cudaError_t pack_rows(const WeightRows& w, char* data, int64_t first, int64_t rows, cudaStream_t stream);
constexpr int64_t most_row_bytes(int64_t shared_bytes) { return shared_bytes / 2; }

struct CudaWeight final : Weight {
  CudaWeight() = default;
  CudaWeight(const CudaWeight&) = delete;
  CudaWeight& operator=(const CudaWeight&) = delete;
  ~CudaWeight() override;

  char* data = nullptr;
  WeightRows view{};
  int64_t file_bytes = 0;  // of a row as it came
  Pool* pool = nullptr;
};

inline WeightRows rows_of(const Weight* w) { return static_cast<const CudaWeight*>(w)->view; }

}  // namespace l3v::cuda
#endif
