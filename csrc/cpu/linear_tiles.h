// linear_tiles.h: how the vector forms of linear walk a product. Each linear_<set>.cpp includes it
// behind its target pragma and hands it a Set of kernels from an unnamed namespace, so that no
// compiled copy is shared between targets.
//
// The product [rows, outputs] is cut into tasks of at most kBlockTiles tiles of kTileRows rows by
// kGroup panels of 64 outputs, which the workers claim. Inside a task the sum over k is cut into
// blocks of at most kStep:
//   for each block of k:      x [block rows, kStep] and one panel's [kStep, 64] stay in the L2 cache
//     for each panel:         16-bit weights are widened once for all tiles when there are several
//       for each tile:        registers hold [kTileRows, 64] sums; x and weights stream from L1 and L2
// Between blocks of k the sums rest in scratch as the floats they are, so an output is one chain
// of fma over k whatever the cut (see linear.cpp), and the cut may follow rows and workers freely.
// Few rows are one tile: then a panel is read once, front to back, which is what bounds a product
// with one row.
#ifndef L3V_CPU_LINEAR_TILES_H
#define L3V_CPU_LINEAR_TILES_H

#include "cpu.h"
#include "weight.h"

namespace l3v::cpu {
namespace {

// How a product is cut. All counts are at least one.
struct Cut {
  int64_t tiles, row_blocks, block_tiles;  // block_tiles: the most in one row block
  int64_t groups, group_panels;            // group_panels: the most in one group
  int64_t steps, step;                     // blocks of k, and the columns of each but the last
};

inline int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class Set>
Cut cut_of(const LinearArgs& a, int workers) {
  const int64_t panels = div_up(a.weight->rows, kPanel);
  Cut c;
  c.tiles = div_up(a.rows, Set::kTileRows);
  c.row_blocks = div_up(c.tiles, Set::kBlockTiles);
  c.groups = div_up(panels, Set::kGroup);
  // Several tasks for each worker let a slow core take fewer. One tile has nothing to share
  // between panels, so its tasks are single panels.
  if (c.tiles == 1) c.groups = panels;
  const int64_t wanted = workers == 1 ? 1 : 4 * static_cast<int64_t>(workers);
  if (c.row_blocks * c.groups < wanted && c.groups < panels) {
    c.groups = div_up(wanted, c.row_blocks);
    if (c.groups > panels) c.groups = panels;
  }
  if (c.row_blocks * c.groups < wanted) {
    c.row_blocks = div_up(wanted, c.groups);
    if (c.row_blocks > c.tiles) c.row_blocks = c.tiles;
  }
  c.block_tiles = div_up(c.tiles, c.row_blocks);
  c.group_panels = div_up(panels, c.groups);
  // Multiples of 16 columns: blocks begin on whole cache lines of x, and pairs stay pairs.
  c.steps = c.tiles == 1 ? 1 : div_up(a.weight->cols, Set::kStep);
  c.step = div_up(div_up(a.weight->cols, c.steps), 16) * 16;
  c.steps = div_up(a.weight->cols, c.step);
  return c;
}

// This worker's scratch, in bytes from its start.
struct Scratch {
  int64_t sums, x, widened, bytes;
};

template <class Set>
bool copies_x(const LinearArgs& a) {
  return Set::kCopyX || a.compute == L3V_BF16;
}
template <class Set>
bool widens(const LinearArgs& a, const Cut& c) {
  return a.weight->dtype != L3V_F32 && c.block_tiles > Set::kDirectTiles &&
         !(Set::kPairProducts && a.compute == L3V_BF16);
}

template <class Set>
Scratch scratch_of(const LinearArgs& a, const Cut& c) {
  Scratch s;
  const int64_t rows = c.block_tiles * Set::kTileRows;
  s.sums = 0;
  s.x = s.sums + rows * c.group_panels * kPanel * 4;
  s.widened = s.x + (copies_x<Set>(a) ? rows * (c.step + 16) * 4 : 0);
  s.bytes = s.widened + (widens<Set>(a, c) ? c.step * kPanel * 4 : 0);
  return s;
}

template <class Set>
Workspace linear_tiles_workspace(const LinearArgs& a, int workers) {
  return {scratch_of<Set>(a, cut_of<Set>(a, workers)).bytes, 0};
}

template <class Set>
void linear_task(const LinearArgs& a, const Cut& c, const Scratch& s, char* scratch, int64_t task) {
  const PackedWeight& w = packed(a.weight);
  const int64_t row_block = task % c.row_blocks, group = task / c.row_blocks;
  const int64_t tile0 = row_block * c.tiles / c.row_blocks,
                tile1 = (row_block + 1) * c.tiles / c.row_blocks;
  const int64_t panel0 = group * w.panels() / c.groups, panel1 = (group + 1) * w.panels() / c.groups;
  // Tile t holds rows first_row(t) .. first_row(t + 1) - 1: sizes differ by one at most.
  const auto first_row = [&](int64_t t) { return t * a.rows / c.tiles; };
  const int64_t row0 = first_row(tile0), rows = first_row(tile1) - row0;
  const bool copy = copies_x<Set>(a), pairs = Set::kPairProducts && a.compute == L3V_BF16;
  const bool widen = widens<Set>(a, c);
  float* const sums = reinterpret_cast<float*>(scratch + s.sums);
  char* const x_copy = scratch + s.x;
  float* const widened = reinterpret_cast<float*>(scratch + s.widened);

  for (int64_t step = 0; step < c.steps; step++) {
    const int64_t k0 = step * c.step, left = w.cols - k0, k = left < c.step ? left : c.step;
    // x of the block: element (r, k) at x + (r * x_stride + k) * x_size.
    const char* x = reinterpret_cast<const char*>(a.x.f32(row0) + k0);
    int64_t x_stride = a.x.stride, x_size = 4;
    if (copy) {
      // 16 more than the block is wide, so that rows of a power of two do not share cache sets.
      x_stride = c.step + 16;
      x = x_copy;
      if (pairs) {
        x_size = 2;
        Set::round_pairs(a.x.f32(row0) + k0, a.x.stride, rows, k, reinterpret_cast<uint16_t*>(x_copy),
                         x_stride);
      } else {
        Set::copy_x(a.x.f32(row0) + k0, a.x.stride, rows, k, a.compute == L3V_BF16,
                    reinterpret_cast<float*>(x_copy), x_stride);
      }
    }
    for (int64_t panel = panel0; panel < panel1; panel++) {
      const char* block = w.at(panel, k0);
      // The block of weights that comes next, to be brought near while this one is used.
      const char* ahead = panel + 1 < panel1 ? w.at(panel + 1, k0)
                          : step + 1 < c.steps ? w.at(panel0, k0 + c.step)
                                               : block;
      const int64_t ahead_bytes = div_up(k * w.column_bytes, (tile1 - tile0) * 64) * 64;
      if (widen) Set::widen(w.dtype, block, k, widened);
      for (int64_t t = tile0; t < tile1; t++) {
        const int64_t first = first_row(t), count = first_row(t + 1) - first;
        float* tile_sums = sums + ((panel - panel0) * rows + first - row0) * kPanel;
        const char* tile_x = x + (first - row0) * x_stride * x_size;
        const char* tile_ahead = ahead + (t - tile0) * ahead_bytes;
        if (pairs)
          Set::tile_pairs(count, reinterpret_cast<const uint16_t*>(tile_x), x_stride, block, k,
                          tile_sums, step == 0, tile_ahead, ahead_bytes);
        else
          Set::tile(count, reinterpret_cast<const float*>(tile_x), x_stride,
                    widen ? static_cast<int32_t>(L3V_F32) : w.dtype,
                    widen ? reinterpret_cast<const char*>(widened) : block, k, tile_sums, step == 0,
                    tile_ahead, ahead_bytes);
        if (step + 1 == c.steps) Set::finish(a, first, count, panel * kPanel, tile_sums);
      }
    }
  }
}

template <class Set>
void linear_tiles(const LinearArgs& a, Worker& w) {
  const Cut c = cut_of<Set>(a, w.count);
  const Scratch s = scratch_of<Set>(a, c);
  for (int64_t task; (task = w.claim(c.row_blocks * c.groups)) >= 0;)
    linear_task<Set>(a, c, s, w.scratch, task);
}

}  // namespace
}  // namespace l3v::cpu
#endif
