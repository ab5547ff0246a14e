// gemm.cu: what comes before and behind the products of gemm.cuh.
#include "gemm.cuh"

namespace l3v::cuda {

// out = x rounded to nearest even, a row after the other.
// Grid: strided over pieces of 8 elements, one a thread. Bound by memory: 4 bytes an element are read
// (2 of bfloat16) and 2 written; of 729 x 1152 that is 5 MB, which stay in L2 for the product.
template <class Type, class T>
__global__ void __launch_bounds__(kThreads) round_rows_kernel(Matrix x, HalfRows out, bool wide) {
  const int64_t pieces = tiles_for(out.cols, 8), all = out.rows * pieces;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < all; i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t row = i / pieces, column = i % pieces * 8;
    const T* from = row_of<T>(x, row) + column;
    const int valid = out.cols - column < 8 ? static_cast<int>(out.cols - column) : 8;
    Bytes16 piece;
    for (int half = 0; half < 2; half++) {
      float v[4];
      if constexpr (std::is_same<T, float>::value) {
        load4(v, from + 4 * half, valid - 4 * half, wide);
      } else {
        for (int j = 0; j < 4; j++) v[j] = 4 * half + j < valid ? widen(from[4 * half + j]) : 0.0f;
      }
      for (int j = 0; j < 2; j++) piece.words[2 * half + j] = pack2(v[2 * j], v[2 * j + 1], Type{});
    }
    *reinterpret_cast<Bytes16*>(const_cast<char*>(out.data) + row * out.row_bytes + column * 2) = piece;
  }
}

// out = epilogue of the sums over splits in order: partial [splits][rows][outs], rows of `pitch` floats.
// Grid: strided over four neighbours of out, a thread each. Bound by memory, and where the partial sums
// fit, by L2: splits + 1 times out.
__global__ void __launch_bounds__(kThreads)
    add_splits_kernel(const float* partial, int64_t pitch, int32_t splits, int64_t rows, int64_t outs, Epilogue e, bool wide) {
  const int64_t pieces = tiles_for(outs, 4), all = rows * pieces;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < all; i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t row = i / pieces, column = i % pieces * 4;
    const int valid = outs - column < 4 ? static_cast<int>(outs - column) : 4;
    float y[4];
    load4(y, partial + row * pitch + column, valid, true);
    for (int32_t split = 1; split < splits; split++) {
      float more[4];
      load4(more, partial + (split * rows + row) * pitch + column, valid, true);
      for (int j = 0; j < 4; j++) y[j] += more[j];
    }
    finish4(e, y, row, column, valid, wide);
  }
}

template <class Type, class T>
static void round_rows(const Matrix& x, const HalfRows& out, bool wide, const Queue& q) {
  const auto round_rows_kernel = cuda::round_rows_kernel<Type, T>;
  const dim3 grid = blocks_for(divide_up(out.rows * divide_up(out.cols, 8), kThreads));
  L3V_LAUNCH(round_rows_kernel, grid, dim3(kThreads), 0, q.stream, x, out, wide);
}

HalfRows half_rows(const Matrix& x, int64_t rows, int64_t cols, int32_t compute, const Queue& q) {
  if (is_half_rows(x, cols, compute)) return {x.data, x.stride * 2, rows, cols};
  const HalfRows out{q.scratch, half_row_bytes(cols), rows, cols};
  const bool floats = x.dtype == L3V_F32, wide = aligned_rows(x);
  if (compute == L3V_BF16) floats ? round_rows<Bf16, float>(x, out, wide, q) : round_rows<Bf16, Bfloat16>(x, out, wide, q);
  else floats ? round_rows<F16, float>(x, out, wide, q) : round_rows<F16, Bfloat16>(x, out, wide, q);
  return out;
}

void add_splits(const float* partial, int32_t splits, int64_t rows, int64_t outs, const Epilogue& e, const Queue& q) {
  const dim3 grid = blocks_for(divide_up(rows * divide_up(outs, 4), kThreads));
  L3V_LAUNCH(add_splits_kernel, grid, dim3(kThreads), 0, q.stream, partial, split_pitch(outs), splits, rows, outs, e, wide(e));
}

}  // namespace l3v::cuda
