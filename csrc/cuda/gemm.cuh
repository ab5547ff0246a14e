// gemm.cuh: what the tensor-core products of every card share: out [m, n] = activation(x W^T + bias) +
// residual with x and W of 16 bits, sums in float32. gemm_sm80.cuh and gemm_sm90.cuh have the products
// themselves, tiles.h which tile and how many splits of k a shape takes.
//
// A product is up to three launches, in this order:
//   round_rows_kernel  x into 16 bits in scratch, where it is not there as the copies want it
//   gemm_..._kernel    tiles of out, or with splits partial sums in scratch
//   add_splits_kernel  the sums of the splits in their order, and the epilogue
#ifndef L3V_CUDA_GEMM_CUH
#define L3V_CUDA_GEMM_CUH

#include "epilogue.cuh"
#include "ptx.cuh"
#include "tiles.h"
#include "weight.h"

namespace l3v::cuda {

// ---- x in 16 bits. -------------------------------------------------------------------------

template <class Type>
constexpr int32_t dtype_of = std::is_same<Type, Bf16>::value ? L3V_BF16 : L3V_F16;

// Rows of 16-bit elements as 16-byte copies take them: every row begins at a multiple of 16 bytes, and
// is zero from cols to the next multiple of 8.
struct HalfRows {
  const char* data;
  int64_t row_bytes, rows, cols;
};

inline int64_t half_row_bytes(int64_t cols) { return divide_up(cols, 8) * 16; }

// Whether x is such rows as it stands. A ragged end is not, as something else follows in memory.
inline bool is_half_rows(const Matrix& x, int64_t cols, int32_t compute) {
  return x.dtype == compute && aligned_rows(x) && cols % 8 == 0;
}

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

// x, or x rounded into scratch.
template <class Type>
HalfRows half_rows(const Matrix& x, int64_t rows, int64_t cols, char* scratch, const Queue& q) {
  if (is_half_rows(x, cols, dtype_of<Type>)) return {x.data, x.stride * 2, rows, cols};
  const HalfRows out{scratch, half_row_bytes(cols), rows, cols};
  const dim3 grid = blocks_for(divide_up(rows * divide_up(cols, 8), kThreads));
  if (x.dtype == L3V_F32) {
    const auto round_rows_kernel = cuda::round_rows_kernel<Type, float>;
    L3V_LAUNCH(round_rows_kernel, grid, dim3(kThreads), 0, q.stream, x, out, aligned_rows(x));
  } else {
    const auto round_rows_kernel = cuda::round_rows_kernel<Type, Bfloat16>;
    L3V_LAUNCH(round_rows_kernel, grid, dim3(kThreads), 0, q.stream, x, out, false);
  }
  return out;
}

// ---- Which part of the product a block works on. -------------------------------------------

struct Product {
  int64_t rows, outs, steps;  // m, n, and k in steps of the tile's depth
  int32_t splits;
  int64_t split_steps;  // of every split but the last
  Epilogue e;           // of one split; else e.out is the partial sums [splits * rows, outs]
  bool wide;

  __device__ int64_t first_step(int64_t split) const { return split * split_steps; }
  __device__ int64_t end_step(int64_t split) const {
    return (split + 1) * split_steps < steps ? (split + 1) * split_steps : steps;
  }
};

struct Place {
  int64_t row, out, split;  // the first of each
};

// Unit i of a product: splits of a tile are neighbours; tiles follow each other down bands of 8, so
// that blocks that run together share 8 tiles of x, and W is read once per band.
template <int kRows, int kCols>
__device__ Place place_of(const Product& p, int64_t i) {
  constexpr int64_t kBand = 8;
  const int64_t down = tiles_for(p.rows, kRows), across = tiles_for(p.outs, kCols);
  const int64_t tile = i / p.splits, band = tile / (kBand * across), in_band = tile % (kBand * across);
  const int64_t left = down - band * kBand, height = left < kBand ? left : kBand;
  return {(band * kBand + in_band % height) * kRows, in_band / height * kCols, i % p.splits};
}

inline int64_t units_of(const TileChoice& t, int64_t rows, int64_t outs) {
  return divide_up(rows, t.rows) * divide_up(outs, t.cols) * t.splits;
}

// ---- From sums in registers to rows in memory. ---------------------------------------------

// Sums of a warp, on their way from where mma and wgmma leave them to whole 16-byte pieces of rows. 8
// floats more than the 32 of a row put the four rows that half a warp writes into different banks.
struct alignas(16) WarpSums {
  float at[16][40];
};

// The warp's sums [16, 32] at (row, column): four fragments of mma_m16n8k16 beside each other.
__device__ inline void finish_sums(WarpSums& s, const float (&sum)[4][4], const Product& p, int64_t row, int64_t column,
                                   int64_t split) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4, t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int j = 0; j < 4; j++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float* to = &s.at[g + 8 * half][8 * j + 2 * t];
      to[0] = sum[j][2 * half];
      to[1] = sum[j][2 * half + 1];
    }
  }
  __syncwarp();
  // Eight lanes a row: 128 bytes of float32, or 64 of bfloat16.
  const int lane = static_cast<int>(threadIdx.x) % 32, c = lane % 8 * 4;
  const int64_t left = p.outs - column - c;
  const int valid = left < 0 ? 0 : left < 4 ? static_cast<int>(left) : 4;
#pragma unroll 1  // callers have this text many times over
  for (int r = lane / 8; r < 16; r += 4) {
    if (row + r >= p.rows || valid == 0) continue;
    float y[4];
    load4(y, &s.at[r][c], 4, true);
    finish4(p.e, y, split * p.rows + row + r, column + c, valid, p.wide);
  }
  __syncwarp();  // the next sums come to the same place
}

// ---- Splits. -------------------------------------------------------------------------------

// out = epilogue of the sums over splits in order: partial [splits][rows][outs], rows of `pitch` floats.
// Grid: strided over four neighbours of out, a thread each. Bound by memory, and where the partial sums
// fit, by L2: splits + 1 times out.
static __global__ void __launch_bounds__(kThreads)
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

inline int64_t split_pitch(int64_t outs) { return divide_up(outs, 4) * 4; }

// ---- The host's half. ----------------------------------------------------------------------

// Scratch: x in 16 bits, where it has to be made, then partial sums.
inline int64_t half_rows_bytes(const Matrix& x, int64_t rows, int64_t cols, int32_t compute) {
  return is_half_rows(x, cols, compute) ? 0 : divide_up(rows * half_row_bytes(cols), 256) * 256;
}
inline int64_t partial_bytes(const TileChoice& t, int64_t rows, int64_t outs) {
  return t.splits > 1 ? t.splits * rows * split_pitch(outs) * 4 : 0;
}

// The product whose kernel `launch` queues, and behind it what its splits need.
template <class Launch>
void run_product(const TileChoice& t, int64_t rows, int64_t outs, int64_t cols, const Epilogue& e, char* partials, const Queue& q,
                 Launch launch) {
  Product p{rows, outs, tiles_for(cols, t.depth), t.splits, steps_per_split(t, cols), e, wide(e)};
  const int64_t pitch = split_pitch(outs);
  if (t.splits > 1) {
    p.e = {{}, {}, {partials, pitch, L3V_F32}, L3V_ACT_NONE, 0};
    p.wide = true;
  }
  launch(p);
  if (t.splits == 1) return;
  const dim3 grid = blocks_for(divide_up(rows * divide_up(outs, 4), kThreads));
  L3V_LAUNCH(add_splits_kernel, grid, dim3(kThreads), 0, q.stream, reinterpret_cast<const float*>(partials), pitch, t.splits, rows,
             outs, e, wide(e));
}

}  // namespace l3v::cuda
#endif
