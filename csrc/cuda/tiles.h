// tiles.h: the tiles that the tensor-core products exist in, and which of them a product takes.
//
// out [m, n] = x [m, k] W[n, k]^T is cut into tiles of rows x cols, and where those are too few for the
// card, k into splits: a block computes one tile over one split, depth columns of x and W at a time,
// through a ring of stages in shared memory. Partial sums of splits are float32 [splits][m][n] in
// scratch, and a second kernel adds them in order.
//
// The cost of a choice is in cycles of one multiprocessor, in integers, so that the same rule in
// another language gives the same choice (bench/tiles.go, held against this file by a test):
//
//   step  = max(multiply-adds of a step / rate, bytes of a step / what one of so many blocks draws from L2)
//   block = start + steps * step + storing its sums
//   cost  = the longer of waves * block and (all bytes once / memory's rate) + an eighth of the shorter,
//           which is not hidden entirely, + the second kernel, where there is one
//   waves = ceil(tiles * splits / multiprocessors)
//
// Why splits: a picture of so400m-384 has m = 729, and its narrow products (n = 1152) make 30 tiles of
// 128 x 256 or 54 of 128 x 128 for 132 multiprocessors. Smaller tiles fill the card, but they read
// more from L2 for each product; with k = 4304 it is cheaper to keep the tile and cut k.
//
// Plain C++ without CUDA. The rates were not yet seen on hardware; the order of choices is what counts.
#ifndef L3V_CUDA_TILES_H
#define L3V_CUDA_TILES_H

#include <cstdint>

#include "forms.h"

namespace l3v::cuda {

// rows of x, cols outputs, depth of k in a step; stages of 2-byte elements in the ring.
struct TileChoice {
  int rows, cols, depth, stages, splits;
};

// The kernels that exist, largest first: of equal costs the first is taken, as it reads the least.
// sm_90: two consumer warpgroups of rows / 2 each (one where rows is 64), 24 to 48 KiB a stage.
// 192 columns divide 1152 and 576, of which 256 waste a tenth and a quarter.
constexpr TileChoice kTilesSm90[] = {
    {128, 256, 64, 4, 1}, {128, 192, 64, 5, 1}, {128, 128, 64, 6, 1}, {128, 64, 64, 8, 1}, {64, 64, 64, 8, 1}};
constexpr TileChoice kTilesSm80[] = {{128, 128, 32, 4, 1}, {128, 64, 32, 4, 1}, {64, 64, 32, 4, 1}};
constexpr int kInvariantSm90 = 2, kInvariantSm80 = 0;  // the one of batch-invariant contexts: 128 x 128

constexpr int kMaxSplits = 16;
constexpr int64_t kFewWaves = 4;  // with more, splits can fill no more than a fifth of the last one

// Multiply-adds of 2-byte elements a cycle and multiprocessor: H100 989.4 TFLOP/s over 132 at 1.83 GHz,
// A100 312 TFLOP/s over 108 at 1.41 GHz (their data sheets). 4-byte elements go at half.
constexpr int64_t kProductsSm90 = 2048, kProductsSm80 = 1024;
// Bytes a cycle that each multiprocessor draws when all do. From L2 an assumption, below the 47 that the
// A100's white paper has (5120 over 108): choices depend on it most. From memory: 3.35 TB/s over 132 at
// 1.83 GHz is 13.9, 2.04 TB/s over 108 at 1.41 GHz is 13.4. Where few work, each draws more from L2, up
// to the width of its port.
constexpr int64_t kCacheBytes = 32, kPortBytes = 64, kMemoryBytes = 14;
// A ring filled from memory, and drained: the latency of memory, taken as half a microsecond.
constexpr int64_t kStartCycles = 1000;
// From the end of a kernel to the first work of the next: 1.3 microseconds, an assumption for graphs.
constexpr int64_t kNextKernelCycles = 2400;

struct TileList {
  const TileChoice* first;
  int count, invariant;
  int64_t products;
};

// kPlain has no choice: its one tile is matmul.cuh's.
inline TileList tiles_of(Forms forms) {
  if (forms == Forms::kSm90) return {kTilesSm90, sizeof kTilesSm90 / sizeof *kTilesSm90, kInvariantSm90, kProductsSm90};
  return {kTilesSm80, sizeof kTilesSm80 / sizeof *kTilesSm80, kInvariantSm80, kProductsSm80};
}

constexpr int64_t tiles_for(int64_t n, int64_t each) { return (n + each - 1) / each; }

// Steps of the ring in a split; the last split may have fewer, never none.
constexpr int64_t steps_per_split(const TileChoice& t, int64_t k) {
  return tiles_for(tiles_for(k, t.depth), t.splits);
}

// Of partial sums, 0 without splits.
constexpr int64_t split_bytes(const TileChoice& t, int64_t m, int64_t n) {
  return t.splits > 1 ? t.splits * m * n * 4 : 0;
}

// What a tile costs, in cycles; -1 where a split would have no step.
inline int64_t tile_cycles(const TileChoice& t, int64_t products, int multiprocessors, int64_t m, int64_t n, int64_t k,
                           int bytes_per_element) {
  const int64_t steps = steps_per_split(t, k);
  if (tiles_for(tiles_for(k, t.depth), steps) != t.splits) return -1;
  const int64_t blocks = tiles_for(m, t.rows) * tiles_for(n, t.cols) * t.splits;
  const int64_t at_once = blocks < multiprocessors ? blocks : multiprocessors;
  const int64_t share = kCacheBytes * multiprocessors / at_once, draw = share < kPortBytes ? share : kPortBytes;
  // What lies outside x and W is not read, but multiplied all the same.
  const int64_t rows = m < t.rows ? m : t.rows, cols = n < t.cols ? n : t.cols;
  const int64_t multiply = static_cast<int64_t>(t.rows) * t.cols * t.depth * bytes_per_element / (2 * products);
  const int64_t read = (rows + cols) * t.depth * bytes_per_element / draw;
  const int64_t block = kStartCycles + steps * (multiply > read ? multiply : read) + rows * cols * 4 / draw;
  const int64_t waves = tiles_for(blocks, multiprocessors);
  const int64_t memory = ((m + n) * k * bytes_per_element + m * n * 4) / (kMemoryBytes * multiprocessors);
  const int64_t work = waves * block;
  int64_t cycles = work > memory ? work + memory / 8 : memory + work / 8;
  if (t.splits > 1) cycles += kNextKernelCycles + (t.splits + 1) * m * n * 4 / (kCacheBytes * multiprocessors);
  return cycles;
}

// The cheapest tile and splits for out [m, n] over k, all at least 1. batch_invariant: one tile and no
// splits, whatever m is, so that a row's sums never depend on its neighbours. bytes_per_element is
// what an element of x and W takes in shared memory: 2, or 4; with 4 the ring has half the stages.
inline TileChoice choose_tile(Forms forms, int multiprocessors, int64_t m, int64_t n, int64_t k, bool batch_invariant,
                              int bytes_per_element) {
  const TileList list = tiles_of(forms);
  TileChoice best = list.first[list.invariant];
  if (!batch_invariant) {
    int64_t least = -1;
    for (int i = 0; i < list.count; i++) {
      TileChoice t = list.first[i];
      const int64_t tiles = tiles_for(m, t.rows) * tiles_for(n, t.cols);
      const int most = tiles < kFewWaves * multiprocessors ? kMaxSplits : 1;
      for (t.splits = 1; t.splits <= most; t.splits++) {
        const int64_t cycles = tile_cycles(t, list.products, multiprocessors, m, n, k, bytes_per_element);
        if (cycles >= 0 && (least < 0 || cycles < least)) {
          least = cycles;
          best = t;
        }
      }
    }
  }
  best.stages = best.stages * 2 / bytes_per_element;
  return best;
}

}  // namespace l3v::cuda
#endif
