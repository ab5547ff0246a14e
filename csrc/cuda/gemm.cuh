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

// x, or where it is no such rows x rounded into scratch by round_rows_kernel (gemm.cu).
HalfRows half_rows(const Matrix& x, int64_t rows, int64_t cols, int32_t compute, const Queue& q);

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

// out = epilogue of the sums over splits in order, by add_splits_kernel (gemm.cu): partial
// [splits][rows][outs], rows of split_pitch(outs) floats.
void add_splits(const float* partial, int32_t splits, int64_t rows, int64_t outs, const Epilogue& e, const Queue& q);

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
  if (t.splits > 1) add_splits(reinterpret_cast<const float*>(partials), t.splits, rows, outs, e, q);
}

}  // namespace l3v::cuda
#endif
