// linear_tiles.h: how the vector forms of linear walk a product. Each linear_<set>.cpp includes it
// behind its target pragma and hands it a Set of kernels from an unnamed namespace, so that no
// compiled copy is shared between targets.
//
// The product [rows, outputs] is cut into tasks of at most kBlockTiles tiles of kTileRows rows by
// kGroup panels of 64 outputs, which the workers claim. Inside a task the sum over k is cut into
// blocks of at most kStep:
//   for each block of k:      x [block rows, kStep] lies copied in the L2 cache
//     for each panel:         its [kStep, 64] weights come to L2; the first tile widens 16-bit ones
//       for each tile:        registers hold [kTileRows, 64] sums; x and weights stream from L1 and L2
// One tile runs at the speed of the fma ports when all it reads is in L2; memory is several times
// slower than that even for a block used by 20 tiles. So each tile, while it computes, fetches its
// share of what comes next: lines of the next block of weights, and rows of the next block of x.
// x is copied because rows of 4096 floats, as they are, fall on the same few cache sets.
//
// Between blocks of k the sums rest in scratch as the floats they are, so an output is one chain
// of fma over k whatever the cut (see linear.cpp), and the cut may follow rows and workers freely.
//
// Block types are unpacked to floats (blocks.h), a step of a panel at a time, and the tiles take those:
// products of dequantised weights, in the same order.
//
// Few rows (at most kFewTiles tiles) are bound by reading the weights from memory: then tasks are
// single panels, read front to back once, and 16-bit weights are widened in registers.
#ifndef L3V_CPU_LINEAR_TILES_H
#define L3V_CPU_LINEAR_TILES_H

#include "cpu.h"
#include "weight.h"

namespace l3v::cpu {
namespace {

// What a tile fetches while it computes.
struct Ahead {
  bool stream;              // its own weights, some way ahead of where it reads
  const char *line, *end;   // else this range, to L2, a line now and then
};

// How a product is cut. All counts are at least one.
struct Cut {
  bool few;                                // bound by reading the weights
  int64_t tiles, row_blocks, block_tiles;  // block_tiles: the most in one row block
  int64_t groups, group_panels;            // group_panels: the most in one group
  int64_t steps, step;                     // blocks of k, and the columns of each but the last
};

constexpr int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

template <class Set>
Cut cut_of(const LinearArgs& a, int workers) {
  const int64_t panels = div_up(a.weight->rows, kPanel), cols = a.weight->cols;
  Cut c;
  c.tiles = div_up(a.rows, Set::kTileRows);
  c.few = c.tiles <= Set::kFewTiles;
  c.row_blocks = div_up(c.tiles, Set::kBlockTiles);
  c.groups = c.few ? panels : div_up(panels, Set::kGroup);
  // Several tasks for each worker, so that a slow core takes fewer.
  const int64_t wanted = workers == 1 ? 1 : 4 * static_cast<int64_t>(workers);
  if (c.row_blocks * c.groups < wanted) c.groups = at_most(panels, div_up(wanted, c.row_blocks));
  if (c.row_blocks * c.groups < wanted) c.row_blocks = at_most(c.tiles, div_up(wanted, c.groups));
  c.block_tiles = div_up(c.tiles, c.row_blocks);
  c.group_panels = div_up(panels, c.groups);
  // One tile needs nothing of k again, but the scratch that block types are unpacked in. Multiples
  // of 16 columns: blocks begin on whole cache lines, and pairs stay pairs.
  const int32_t dtype = a.weight->dtype;
  const int64_t whole = is_block_type(dtype) ? block_of(dtype).elements : 16;
  c.steps = c.tiles == 1 && !is_block_type(dtype) ? 1 : div_up(cols, Set::kStep);
  c.step = div_up(div_up(cols, c.steps), whole) * whole;
  c.steps = div_up(cols, c.step);
  return c;
}

// What a task does with x and the weights on their way to the tiles.
struct Form {
  bool pairs;   // the tiles take x as pairs of bf16
  bool copy_x;  // x goes through scratch
  bool blocks;  // weights are unpacked to scratch before the first tile
  bool widen;   // tiles after the first find 16-bit weights in scratch as floats
};

template <class Set>
Form form_of(const LinearArgs& a, const Cut& c) {
  Form f;
  f.pairs = Set::kPairProducts && a.compute == L3V_BF16;
  f.copy_x = !c.few || a.compute == L3V_BF16;
  f.blocks = is_block_type(a.weight->dtype);
  f.widen = f.blocks || (!f.pairs && !c.few && a.weight->dtype != L3V_F32);
  return f;
}

// A worker's scratch: bytes from its start, and the floats between rows of the copy of x. 16 more
// than a block is wide: a power of two would put its rows on the same cache sets.
struct Scratch {
  int64_t sums, x[2], widened, bytes, x_stride;
};

template <class Set>
Scratch scratch_of(const Cut& c, const Form& f) {
  Scratch s;
  const int64_t rows = c.block_tiles * Set::kTileRows;
  s.x_stride = c.step + 16;
  const int64_t x_bytes = f.copy_x ? rows * s.x_stride * (f.pairs ? 2 : 4) : 0;
  s.sums = 0;
  s.x[0] = s.sums + rows * c.group_panels * kPanel * 4;
  s.x[1] = s.x[0] + (c.steps > 1 ? x_bytes : 0);
  s.widened = s.x[1] + x_bytes;
  s.bytes = s.widened + (f.widen ? c.step * kPanel * 4 : 0);
  return s;
}

template <class Set>
Workspace linear_tiles_workspace(const LinearArgs& a, int workers) {
  const Cut c = cut_of<Set>(a, workers);
  return {scratch_of<Set>(c, form_of<Set>(a, c)).bytes, 0};
}

// Columns [k0, k0 + k) of `rows` rows of x from `row` on, to `out` in the form that the tiles take.
template <class Set>
void copy_rows_of_x(const LinearArgs& a, const Form& f, int64_t row, int64_t rows, int64_t k0,
                    int64_t k, int64_t out_stride, char* out) {
  const float* x = a.x.f32(row) + k0;
  if (f.pairs)
    Set::round_pairs(x, a.x.stride, rows, k, reinterpret_cast<uint16_t*>(out), out_stride);
  else
    Set::copy_x(x, a.x.stride, rows, k, a.compute == L3V_BF16, reinterpret_cast<float*>(out),
                out_stride);
}

inline void prefetch_rows_of_x(const LinearArgs& a, int64_t row, int64_t rows, int64_t k0, int64_t k) {
  for (int64_t r = row; r < row + rows; r++)
    for (int64_t i = 0; i < k; i += 16) __builtin_prefetch(a.x.f32(r) + k0 + i);
}

// Where a tile's results go, and what is added to them: fetched before the tile computes.
inline void prefetch_out(const LinearArgs& a, int64_t row, int64_t rows, int64_t column) {
  const int64_t end = at_most(column + kPanel, a.weight->rows);
  for (int64_t r = row; r < row + rows; r++)
    for (int64_t i = column; i < end; i += 16) {
      __builtin_prefetch(a.out.f32(r) + i, 1);
      if (a.residual) __builtin_prefetch(a.residual.f32(r) + i);
    }
}

template <class Set>
void linear_task(const LinearArgs& a, const Cut& c, const Form& f, const Scratch& s, char* scratch,
                 int64_t task) {
  const PackedWeight& w = packed(a.weight);
  const int64_t row_block = task % c.row_blocks, group = task / c.row_blocks;
  const int64_t tile0 = row_block * c.tiles / c.row_blocks,
                tile1 = (row_block + 1) * c.tiles / c.row_blocks;
  const int64_t panel0 = group * w.panels() / c.groups, panel1 = (group + 1) * w.panels() / c.groups;
  const int64_t row0 = tile0 * Set::kTileRows, rows = at_most(tile1 * Set::kTileRows, a.rows) - row0;
  // Every tile of a block of k copies so many rows of the next block, until all are there.
  const int64_t copied_rows = div_up(rows, (panel1 - panel0) * (tile1 - tile0));
  float* const sums = reinterpret_cast<float*>(scratch + s.sums);
  const int64_t x_size = f.pairs ? 2 : 4;

  for (int64_t step = 0; step < c.steps; step++) {
    const bool last = step + 1 == c.steps;
    const int64_t k0 = step * c.step, k = at_most(c.step, w.cols - k0);
    const int64_t next_k0 = k0 + k, next_k = last ? 0 : at_most(c.step, w.cols - next_k0);
    // Element (r, i) of the block of x lies at x + (r * x_stride + i) * x_size.
    const char* x = reinterpret_cast<const char*>(a.x.f32(row0) + k0);
    int64_t x_stride = a.x.stride;
    char* next_x = nullptr;  // where the next block's copy goes, if it is made on the way
    if (f.copy_x) {
      if (step == 0)
        copy_rows_of_x<Set>(a, f, row0, rows, k0, k, s.x_stride, scratch + s.x[0]);
      x = scratch + s.x[step & 1];
      x_stride = s.x_stride;
      if (!last) next_x = scratch + s.x[(step + 1) & 1];
    }

    int64_t copied = 0;  // rows of the next block
    for (int64_t panel = panel0; panel < panel1; panel++) {
      const char* block = w.at(panel, k0);
      // The next block of weights, which the tiles fetch in equal shares.
      const char* next = panel + 1 < panel1 ? w.at(panel + 1, k0) : w.at(panel0, next_k0);
      const char* const next_end = panel + 1 < panel1 ? w.at(panel + 1, k0 + k) : w.at(panel0, next_k0 + next_k);
      const int64_t share = c.few && !f.blocks ? 0 : div_up(next_end - next, (tile1 - tile0) * 64) * 64;
      float* const widened = f.widen ? reinterpret_cast<float*>(scratch + s.widened) : nullptr;
      if constexpr (!Set::kPairProducts)
        if (f.blocks) Set::unpack(w.dtype, block, k, widened);
      for (int64_t r = 0; r < rows; r += Set::kTileRows) {
        const int64_t count = at_most(Set::kTileRows, rows - r);
        float* const tile_sums = sums + ((panel - panel0) * rows + r) * kPanel;
        const char* tile_x = x + r * x_stride * x_size;
        Ahead ahead;
        ahead.stream = c.few && !f.blocks && r == 0;  // the first of few tiles reads its weights from memory
        ahead.line = next;
        ahead.end = next = next_end - next < share ? next_end : next + share;
        if (last) prefetch_out(a, row0 + r, count, panel * kPanel);
        if (f.pairs)
          Set::tile_pairs(count, reinterpret_cast<const uint16_t*>(tile_x), x_stride, block, k,
                          tile_sums, step == 0, ahead);
        else if (f.blocks || (widened != nullptr && r > 0))
          Set::tile(count, reinterpret_cast<const float*>(tile_x), x_stride, L3V_F32,
                    reinterpret_cast<const char*>(widened), nullptr, k, tile_sums, step == 0, ahead);
        else  // widens in registers, and keeps what it widened for the tiles that follow
          Set::tile(count, reinterpret_cast<const float*>(tile_x), x_stride, w.dtype, block, widened, k,
                    tile_sums, step == 0, ahead);
        if (last) Set::finish(a, row0 + r, count, panel * kPanel, tile_sums);
        if (next_x != nullptr && copied < rows) {
          const int64_t now = at_most(copied_rows, rows - copied);
          copy_rows_of_x<Set>(a, f, row0 + copied, now, next_k0, next_k, s.x_stride,
                              next_x + copied * s.x_stride * x_size);
          copied += now;
          prefetch_rows_of_x(a, row0 + copied, at_most(copied_rows, rows - copied), next_k0, next_k);
        }
      }
    }
  }
}

template <class Set>
void linear_tiles(const LinearArgs& a, Worker& w) {
  const Cut c = cut_of<Set>(a, w.count);
  const Form f = form_of<Set>(a, c);
  const Scratch s = scratch_of<Set>(c, f);
  for (int64_t task; (task = w.claim(c.row_blocks * c.groups)) >= 0;)
    linear_task<Set>(a, c, f, s, w.scratch, task);
}

}  // namespace
}  // namespace l3v::cpu
#endif
