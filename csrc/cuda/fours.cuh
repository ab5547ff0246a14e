// fours.cuh: rows of activations in pieces of four elements, one load or store each where the rows
// lie so (16 bytes of float32, 8 of bfloat16), element by element where they do not.
#ifndef L3V_CUDA_FOURS_CUH
#define L3V_CUDA_FOURS_CUH

#include "element.cuh"

namespace l3v::cuda {

constexpr int kFour = 4;

template <class T>
struct alignas(kFour * sizeof(T)) Four {
  T at[kFour];
};

// Whether each row of a view is whole aligned fours.
inline bool in_fours(const Matrix& m, int64_t rows, int64_t cols) {
  const int64_t bytes = (m.dtype == L3V_F32 ? 4 : 2) * kFour;
  return cols % kFour == 0 && reinterpret_cast<uintptr_t>(m.data) % bytes == 0 && (rows == 1 || m.stride % kFour == 0);
}

// Elements [c, c + n) of a row as floats, n of 1 to 4, and zeros behind them. whole: the row is in
// fours. Loops go to 4 in any case, so that the values stay in registers.
template <class T>
__device__ void load_four(const T* row, int64_t c, int n, bool whole, float v[kFour]) {
  if (whole) {
    const Four<T> four = *reinterpret_cast<const Four<T>*>(row + c);
    for (int i = 0; i < kFour; i++) v[i] = widen(four.at[i]);
  } else {
    for (int i = 0; i < kFour; i++) v[i] = i < n ? widen(row[c + i]) : 0.0f;
  }
}

template <class T>
__device__ void store_four(T* row, int64_t c, int n, bool whole, const float v[kFour]) {
  if (whole) {
    Four<T> four;
    for (int i = 0; i < kFour; i++) four.at[i] = narrow<T>(v[i]);
    *reinterpret_cast<Four<T>*>(row + c) = four;
  } else {
    for (int i = 0; i < kFour; i++)
      if (i < n) row[c + i] = narrow<T>(v[i]);
  }
}

__device__ inline int four_of(int64_t c, int64_t cols) { return cols - c < kFour ? static_cast<int>(cols - c) : kFour; }

// The fours of rows x cols, a block's threads side by side in one row, so that a single row of many
// columns fills more than one multiprocessor. f(row, c, n).
template <class F>
__device__ void each_four(int64_t rows, int64_t cols, F f) {
  const int64_t chunks = (cols + kThreads * kFour - 1) / (kThreads * kFour);
  for (int64_t b = blockIdx.x; b < rows * chunks; b += gridDim.x) {
    const int64_t c = (b % chunks * kThreads + threadIdx.x) * kFour;
    if (c < cols) f(b / chunks, c, four_of(c, cols));
  }
}
inline dim3 blocks_of_fours(int64_t rows, int64_t cols) { return blocks_for(rows * divide_up(cols, kThreads * kFour)); }

}  // namespace l3v::cuda
#endif
