// gemm_sm80.cuh: the product of gemm.cuh by mma.sync, its tiles brought by whatever loads them.
//
// Grid: one block a unit (tile and split). A block of kDown x kAcross warps goes over k in steps of
// kDepth: a ring of kStages tiles of x and W in shared memory is filled kStages - 1 steps ahead, and
// each warp multiplies kRows / kDown rows by 32 outputs with mma.m16n8k16, its factors by ldmatrix.
//
// A tile in shared memory is rows of kDepth elements in pieces of 16 bytes, where piece p of row r
// stands at p ^ r / 2 % 4 (rows of 64 bytes) or p ^ r % 8 (of 128): the 8 rows of a piece that
// ldmatrix takes together lie in 8 different places of the 128 bytes that the banks give at once.
//
// Loaders of x and of W have
//   static constexpr int kBlocks                      of a multiprocessor that its registers leave room for
//   using Held                                        what a thread keeps between the two calls
//   template <class Tile> begin(held, tile, first_row, k0)
//                                                     asks for columns k0 and up of the tile's rows
//   template <class Tile> end(held, tile, k0)         puts there what begin did not; zeros outside
// and between them the block multiplies, so that plain loads are under way meanwhile as cp.async is.
//
// Bound: 128 x 128 x 32 is 64 KiB of shared memory, two blocks a multiprocessor with 128 registers a
// thread. A step of a warp is 12 ldmatrix.x4 for 32 mma: of the 128 bytes a cycle that shared memory
// gives it takes three quarters of what the mma take of the tensor cores, so these are the bound.
#ifndef L3V_CUDA_GEMM_SM80_CUH
#define L3V_CUDA_GEMM_SM80_CUH

#include "gemm.cuh"

namespace l3v::cuda {

// Rows of a tile, `depth` 2-byte elements each, in the order that the head comment says; for a block of
// so many threads.
template <int kRowsOf, int kDepthOf, int kThreadsOf>
struct alignas(128) HalfTile {
  static constexpr int kRows = kRowsOf, kDepth = kDepthOf, kThreads = kThreadsOf;
  static constexpr int kPieces = kDepth / 8;  // of a row
  static constexpr int kEach = kRows * kPieces / kThreads;  // pieces of a thread
  static_assert(kPieces == 4 || kPieces == 8, "the orders there are");
  static_assert(kEach * kThreads == kRows * kPieces, "every thread has as many");

  Bytes16 pieces[kRows * kPieces];

  __device__ Bytes16* at(int row, int piece) {
    return &pieces[row * kPieces + (piece ^ (kPieces == 4 ? row / 2 % 4 : row % 8))];
  }
};

// Rows of 16-bit elements, by cp.async.
struct HalfLoader {
  static constexpr int kBlocks = 2;
  HalfRows rows;

  template <class Tile>
  struct Held {};

  template <class Tile>
  __device__ void begin(Held<Tile>&, Tile& tile, int64_t first_row, int64_t k0) const {
#pragma unroll
    for (int i = 0; i < Tile::kEach; i++) {
      const int at = static_cast<int>(threadIdx.x) + i * Tile::kThreads, row = at / Tile::kPieces, piece = at % Tile::kPieces;
      const int64_t k = k0 + 8 * piece;
      const bool valid = first_row + row < rows.rows && k < rows.cols;
      const char* from = rows.data + (valid ? (first_row + row) * rows.row_bytes + k * 2 : 0);
      cp_async_16(tile.at(row, piece), from, valid);
    }
  }
  template <class Tile>
  __device__ void end(const Held<Tile>&, Tile&, int64_t) const {}
};

template <class TypeOf, class XOf, class WOf, int kRowsOf, int kColsOf, int kDepthOf, int kStagesOf>
struct GemmSm80 {
  using Type = TypeOf;
  using X = XOf;
  using W = WOf;
  static constexpr int kRows = kRowsOf, kCols = kColsOf, kDepth = kDepthOf, kStages = kStagesOf;
  static constexpr int kAcross = kCols / 32, kDown = 2, kThreads = 32 * kAcross * kDown;
  static constexpr int kFragments = kRows / kDown / 16;  // of 16 rows, of a warp
  static constexpr int kBlocks = X::kBlocks < W::kBlocks ? X::kBlocks : W::kBlocks;
  using XTile = HalfTile<kRows, kDepth, kThreads>;
  using WTile = HalfTile<kCols, kDepth, kThreads>;
  struct Stage {
    XTile x;
    WTile w;
  };
  union Shared {
    Stage ring[kStages];
    WarpSums sums[kThreads / 32];  // when the ring is done
  };
};

template <class Form>
__global__ void __launch_bounds__(Form::kThreads, Form::kBlocks)
    gemm_sm80_kernel(typename Form::X x, typename Form::W w, Product p) {
  constexpr int kStages = Form::kStages, kFragments = Form::kFragments;
  L3V_SHARED(typename Form::Shared, s);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = warp / Form::kAcross * kFragments * 16, warp_col = warp % Form::kAcross * 32;
  const Place place = place_of<Form::kRows, Form::kCols>(p, blockIdx.x);
  const int64_t first = p.first_step(place.split), end = p.end_step(place.split);

  typename Form::X::template Held<typename Form::XTile> x_held;
  typename Form::W::template Held<typename Form::WTile> w_held;

#pragma unroll
  for (int ahead = 0; ahead < kStages - 1; ahead++) {
    if (first + ahead < end) {
      x.begin(x_held, s.ring[ahead].x, place.row, (first + ahead) * Form::kDepth);
      w.begin(w_held, s.ring[ahead].w, place.out, (first + ahead) * Form::kDepth);
      x.end(x_held, s.ring[ahead].x, (first + ahead) * Form::kDepth);
      w.end(w_held, s.ring[ahead].w, (first + ahead) * Form::kDepth);
    }
    cp_async_commit();
  }

  float sum[kFragments][4][4] = {};
  int stage = 0;
  for (int64_t step = first; step < end; step++) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // this step's tiles are there, and the step before is multiplied
    const int64_t next = step + kStages - 1;
    typename Form::Stage& into = s.ring[stage == 0 ? kStages - 1 : stage - 1];
    if (next < end) {
      x.begin(x_held, into.x, place.row, next * Form::kDepth);
      w.begin(w_held, into.w, place.out, next * Form::kDepth);
    }
    cp_async_commit();
    typename Form::Stage& now = s.ring[stage];
#pragma unroll
    for (int piece = 0; piece < Form::kDepth / 8; piece += 2) {
      uint32_t a[kFragments][4], b[2][4];
#pragma unroll
      for (int i = 0; i < kFragments; i++) ldmatrix_x4(a[i], now.x.at(warp_row + 16 * i + lane % 16, piece + lane / 16));
#pragma unroll
      for (int j = 0; j < 2; j++)
        ldmatrix_x4(b[j], now.w.at(warp_col + 16 * j + lane / 16 * 8 + lane % 8, piece + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < kFragments; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const uint32_t column[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
          mma_m16n8k16(sum[i][j], a[i], column, typename Form::Type{});
        }
      }
    }
    if (next < end) {
      x.end(x_held, into.x, next * Form::kDepth);
      w.end(w_held, into.w, next * Form::kDepth);
    }
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
  cp_async_wait<0>();
  __syncthreads();  // the ring becomes room for sums
#pragma unroll
  for (int i = 0; i < kFragments; i++)
    finish_sums(s.sums[warp], sum[i], p, place.row + warp_row + 16 * i, place.out + warp_col, place.split);
}

template <class Form>
void launch_gemm_sm80(const typename Form::X& x, const typename Form::W& w, const Product& p, int64_t units, const Queue& q) {
  constexpr int64_t kShared = sizeof(typename Form::Shared);
  if (allow_shared(gemm_sm80_kernel<Form>, kShared) != cudaSuccess) return;  // the launch's check finds it
  L3V_LAUNCH(gemm_sm80_kernel<Form>, dim3(static_cast<unsigned>(units)), dim3(Form::kThreads), kShared, q.stream, x, w, p);
}

// By the tile that was chosen, of kTilesSm80.
template <class Type, class X, class W>
void gemm_sm80(const TileChoice& t, const X& x, const W& w, const Product& p, const Queue& q) {
  const int64_t units = units_of(t, p.rows, p.outs);
  if (t.rows == 128 && t.cols == 128) launch_gemm_sm80<GemmSm80<Type, X, W, 128, 128, 32, 4>>(x, w, p, units, q);
  else if (t.rows == 128) launch_gemm_sm80<GemmSm80<Type, X, W, 128, 64, 32, 4>>(x, w, p, units, q);
  else launch_gemm_sm80<GemmSm80<Type, X, W, 64, 64, 32, 4>>(x, w, p, units, q);
}

}  // namespace l3v::cuda
#endif
