// linear_i8.h: how the vector forms of linear compute in int8 on packed blocks (blocks.h). Included
// behind a target pragma, and handed a Set as linear_tiles.h is.
//
// An output is one chain over the runs of k, in order:
//   isum = sum of (q - zero) * x   in int32, exact
//   acc  = fma(float(isum) * d, scale, acc)
//   acc  = fma(d * float(sum of x), offset, acc)   where the type has offsets
// with d the scale of x (quantized.h). Every set computes that, so that they give equal bits, for any
// rows and workers.
//
// Few rows: bound by reading the weights. A task is a panel, read front to back once; quants are
// unpacked in registers, and each worker quantises x for itself. A sub-block's integers need one
// register a row, so the float sums stay in registers too.
//
// More rows: x is quantised once by all workers into shared memory, in tiles of kTileRows rows; a
// task is a panel by a block of rows. For each step of kStep columns the panel's quants become bytes in
// scratch that fits the first cache, and the tiles run over it: 24 vectors of integer sums, four of
// weights, one of x. A run of 32 takes 192 dot products (96 cycles on two ports) and for its scales
// 48 fma (24 cycles), 72 with offsets: four fifths of the dot products' peak, or three quarters, is the
// most there is; two thirds and three fifths where runs are 16. While tiles compute they fetch what
// comes next of the weights.
#ifndef L3V_CPU_LINEAR_I8_H
#define L3V_CPU_LINEAR_I8_H

#include "blocks.h"
#include "cpu.h"
#include "linear_tiles.h"
#include "quantized.h"

namespace l3v::cpu {
namespace {

L3V_INLINE float float_at(const char* p) {
  float x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
L3V_INLINE int32_t word_at(const char* p) {
  int32_t x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

// Has the compiler leave in memory what it might else keep in registers from here on.
L3V_INLINE void registers_are_full() { asm volatile("" ::: "memory"); }

// Columns [0, k) of a panel are unpacked to records, one for each run:
//   q [kRun / 4][64][4], scale [64], offset [64] where the type has one
template <int kRun, bool kOffset>
constexpr int64_t record_bytes() {
  return kRun * kPanel + kPanel * 4 * (kOffset ? 2 : 1);
}

// The tiles that run over records. Types that differ in how they unpack alone share them.
template <class Set, int kRun, bool kOffset, bool kWide>
struct Tiles {
  using V = typename Set::V;
  using I = typename V::I;
  using F = typename V::F;
  static constexpr int kVectors = kPanel / V::kLanes;
  static constexpr int64_t kRecord = record_bytes<kRun, kOffset>();

  // sums [R, 64] += x times the runs from records on. Brings [line, end) near meanwhile.
  template <int R>
  static void tile(const char* records, const char* x, int64_t runs, float* sums, const char* line,
                   const char* end) {
    constexpr int S = Set::kStrip;
    for (int first = 0; first < kVectors; first += S) {
      const char* w = records + first * V::kLanes * 4;
      const char* xr = x;
      float* const to = sums + first * V::kLanes;
      for (int64_t run = 0; run < runs; run++, w += kRecord, xr += run_bytes<kRun>(R)) {
        const char* const side = xr + R * kRun;
        I isum[R][S];
L3V_UNROLL(6)
        for (int r = 0; r < R; r++)
L3V_UNROLL(4)
          for (int v = 0; v < S; v++) isum[r][v] = V::all(word_at(side + 4 * r));
        for (int i = 0; i < 4 && line < end; i++, line += 64) __builtin_prefetch(line, 0, 2);
L3V_UNROLL(8)
        for (int g = 0; g < kRun / 4; g++) {
          I q[S];
L3V_UNROLL(4)
          for (int v = 0; v < S; v++)
            q[v] = V::load(reinterpret_cast<const uint32_t*>(w + g * kPanel * 4) + v * V::kLanes);
L3V_UNROLL(6)
          for (int r = 0; r < R; r++)
L3V_UNROLL(4)
            for (int v = 0; v < S; v++)
              isum[r][v] = Set::template dot<kWide>(isum[r][v], q[v], word_at(xr + (g * R + r) * 4));
        }
        const float* const scale = reinterpret_cast<const float*>(w + kRun * kPanel);
        F s[S];
L3V_UNROLL(4)
        for (int v = 0; v < S; v++) s[v] = V::load(scale + v * V::kLanes);
L3V_UNROLL(6)
        for (int r = 0; r < R; r++) {
          const F d = V::all(float_at(side + (R + r) * 4)), shift = V::all(float_at(side + (2 * R + r) * 4));
L3V_UNROLL(4)
          for (int v = 0; v < S; v++) {
            float* const p = to + r * kPanel + v * V::kLanes;
            F y = V::fma(V::fma(V::bits(isum[r][v]), d, shift), s[v], V::load(p));
            if (kOffset)
              y = V::fma(V::all(float_at(side + (3 * R + r) * 4)), V::load(scale + kPanel + v * V::kLanes), y);
            V::store(p, y);
          }
        }
        registers_are_full();  // else sums are kept in registers that the integers need
      }
    }
  }

  static void rows(int64_t count, const char* records, const char* x, int64_t runs, float* sums,
                   const char* line, const char* end) {
    switch (count) {
      case 1: return tile<1>(records, x, runs, sums, line, end);
      case 2: return tile<2>(records, x, runs, sums, line, end);
      case 3: return tile<3>(records, x, runs, sums, line, end);
      case 4: return tile<4>(records, x, runs, sums, line, end);
      case 5: return tile<at_most(5, Set::kTileRows)>(records, x, runs, sums, line, end);
      default: return tile<at_most(6, Set::kTileRows)>(records, x, runs, sums, line, end);
    }
  }
};

template <class Set, int32_t kType>
struct LinearI8 {
  using V = typename Set::V;
  using I = typename V::I;
  using F = typename V::F;
  using U = Unpack<V, kType>;
  static constexpr BlockShape kShape = U::kShape;
  static constexpr int kVectors = kPanel / V::kLanes;
  static constexpr int kRun = U::kRun;
  static constexpr bool kOffset = U::kOffset;
  // Quants above 127 take a dot product that is exact for them. Where the set has one of signed
  // bytes alone, it takes them 128 lower.
  static constexpr bool kWide = U::kZero == 128;
  static constexpr int32_t kZero = kWide && Set::kSignedOnly ? U::kZero - 128 : U::kZero;
  static constexpr int64_t kStep = 256;
  static constexpr int64_t kRecord = record_bytes<kRun, kOffset>();

  static int64_t row_bytes(int64_t cols) { return cols / kRun * run_bytes<kRun>(1); }

  // sums [R, 64] = x times the panel.
  template <int R>
  static void few_rows(const char* block, int64_t cols, const char* x, float* sums) {
    F acc[R][kVectors];
    for (int r = 0; r < R; r++)
      for (int v = 0; v < kVectors; v++) acc[r][v] = V::all(0.0f);
    for (int64_t k = 0; k < cols; k += U::kElements, block += U::kBytes) {
      alignas(64) float scale[U::kRuns * kPanel], offset[(kOffset ? U::kRuns : 1) * kPanel];
      for (int64_t i = 0; i < (kShape.halves * 2 + kShape.scale_words * 4) * kPanel; i += 64)
        __builtin_prefetch(block + Set::kAhead + i);
      block_scales<V, kType>(block, scale, offset, kPanel);
      for (int c = 0; c < U::kElements / kChunk; c++) {
        const uint32_t* const chunk = U::chunk(block, c);
L3V_UNROLL(2)
        for (int half = 0; half < kChunk / kRun; half++, x += run_bytes<kRun>(R)) {
          const int run = c * (kChunk / kRun) + half;
          const char* const side = x + R * kRun;
L3V_UNROLL(4)
          for (int v = 0; v < kVectors; v++) {
            if (half == 0)
              for (int i = 0; i < kShape.chunk_words() * 4; i += kVectors)
                if (v + i < kShape.chunk_words() * 4)
                  __builtin_prefetch(reinterpret_cast<const char*>(chunk) + Set::kAhead + 64 * (v + i));
            I isum[R];
L3V_UNROLL(4)
            for (int r = 0; r < R; r++) isum[r] = V::all(word_at(side + 4 * r));
L3V_UNROLL(8)
            for (int g = 0; g < kRun / 4; g++) {
              const I q = U::quants(chunk, v * V::kLanes, half * (kRun / 4) + g);
L3V_UNROLL(4)
              for (int r = 0; r < R; r++)
                isum[r] = Set::template dot<kWide>(isum[r], q, word_at(x + (g * R + r) * 4));
            }
            const F s = V::load(scale + run * kPanel + v * V::kLanes);
L3V_UNROLL(4)
            for (int r = 0; r < R; r++) {
              const F t = V::fma(V::bits(isum[r]), V::all(float_at(side + (R + r) * 4)),
                                 V::all(float_at(side + (2 * R + r) * 4)));
              acc[r][v] = V::fma(t, s, acc[r][v]);
              if (kOffset)
                acc[r][v] = V::fma(V::all(float_at(side + (3 * R + r) * 4)),
                                   V::load(offset + run * kPanel + v * V::kLanes), acc[r][v]);
            }
            if (R > 2) registers_are_full();
          }
        }
      }
    }
    for (int r = 0; r < R; r++)
      for (int v = 0; v < kVectors; v++) V::store(sums + r * kPanel + v * V::kLanes, acc[r][v]);
  }

  // Columns [0, k) of a panel from block on, as records.
  static void unpack(const char* block, int64_t k, char* out) {
    for (; k > 0; k -= U::kElements, block += U::kBytes, out += U::kRuns * kRecord) {
      float* const scale = reinterpret_cast<float*>(out + kRun * kPanel);
      block_scales<V, kType>(block, scale, scale + kPanel, kRecord / 4);
      for (int c = 0; c < U::kElements / kChunk; c++) {
        const uint32_t* const chunk = U::chunk(block, c);
        char* const to = out + c * (kChunk / kRun) * kRecord;
        for (int v = 0; v < kVectors; v++)
L3V_UNROLL(8)
          for (int g = 0; g < kChunk / 4; g++)
            V::store(reinterpret_cast<uint32_t*>(to + g / (kRun / 4) * kRecord + g % (kRun / 4) * kPanel * 4) +
                         v * V::kLanes,
                     U::quants(chunk, v * V::kLanes, g));
      }
    }
  }

  // How the rows of a larger product are cut.
  struct Cut {
    int64_t tiles, row_blocks, block_tiles;
  };
  static Cut cut_of(const LinearArgs& a, int workers) {
    Cut c;
    const int64_t panels = (a.weight->rows + kPanel - 1) / kPanel;
    c.tiles = (a.rows + Set::kTileRows - 1) / Set::kTileRows;
    c.row_blocks = (c.tiles + Set::kBlockTiles - 1) / Set::kBlockTiles;
    const int64_t wanted = workers == 1 ? 1 : 4 * static_cast<int64_t>(workers);
    if (c.row_blocks * panels < wanted) c.row_blocks = at_most(c.tiles, (wanted + panels - 1) / panels);
    c.block_tiles = (c.tiles + c.row_blocks - 1) / c.row_blocks;
    return c;
  }
  static int64_t sums_bytes(const Cut& c) { return c.block_tiles * Set::kTileRows * kPanel * 4; }

  static Workspace workspace(const LinearArgs& a, int workers) {
    const int64_t x = a.rows * row_bytes(a.weight->cols);
    if (a.rows <= Set::kFewRows) return {a.rows * kPanel * 4 + x, 0};
    return {sums_bytes(cut_of(a, workers)) + kStep / kRun * kRecord, x};
  }

  static void quantize(const LinearArgs& a, int64_t row, int64_t rows, char* out) {
    quantize_rows<kRun>(a.x.f32(row), a.x.stride, rows, a.weight->cols, kZero, out);
  }

  static void run_few(const LinearArgs& a, Worker& worker) {
    const PackedWeight& w = packed(a.weight);
    float* const sums = reinterpret_cast<float*>(worker.scratch);
    char* const x = worker.scratch + a.rows * kPanel * 4;
    bool ready = false;
    for (int64_t panel; (panel = worker.claim(w.panels())) >= 0;) {
      if (!ready) quantize(a, 0, a.rows, x);
      ready = true;
      const char* const block = w.at(panel, 0);
      switch (a.rows) {
        case 1: few_rows<1>(block, w.cols, x, sums); break;
        case 2: few_rows<2>(block, w.cols, x, sums); break;
        case 3: few_rows<at_most(3, Set::kFewRows)>(block, w.cols, x, sums); break;
        default: few_rows<at_most(4, Set::kFewRows)>(block, w.cols, x, sums);
      }
      Set::finish(a, 0, a.rows, panel * kPanel, sums);
    }
  }

  static void run(const LinearArgs& a, Worker& worker) {
    if (a.rows <= Set::kFewRows) return run_few(a, worker);
    const PackedWeight& w = packed(a.weight);
    const Cut c = cut_of(a, worker.count);
    const int64_t tile_bytes = Set::kTileRows * row_bytes(w.cols);
    for (int64_t t; (t = worker.claim(c.tiles)) >= 0;) {
      const int64_t row = t * Set::kTileRows;
      quantize(a, row, at_most(Set::kTileRows, a.rows - row), worker.shared + t * tile_bytes);
    }
    worker.barrier();  // x is all there
    float* const sums = reinterpret_cast<float*>(worker.scratch);
    char* const records = worker.scratch + sums_bytes(c);
    for (int64_t task; (task = worker.claim(c.row_blocks * w.panels())) >= 0;) {
      const int64_t block = task / w.panels(), panel = task % w.panels();
      const int64_t tile0 = block * c.tiles / c.row_blocks, tile1 = (block + 1) * c.tiles / c.row_blocks;
      std::memset(sums, 0, static_cast<size_t>((tile1 - tile0) * Set::kTileRows * kPanel * 4));
      for (int64_t k0 = 0; k0 < w.cols; k0 += kStep) {
        const int64_t k = at_most(kStep, w.cols - k0);
        unpack(w.at(panel, k0), k, records);
        // The step behind this one, of the next panel behind the last, in a share for every tile.
        const char* line = w.at(panel, k0 + k);
        const char* end = line + (w.at(0, kStep) - w.at(0, 0));
        if (const char* all = w.data + w.bytes; end > all) end = all;
        const int64_t share = ((end - line) / (tile1 - tile0) + 63) / 64 * 64;
        for (int64_t t = tile0; t < tile1; t++) {
          const int64_t rows = at_most(Set::kTileRows, a.rows - t * Set::kTileRows);
          const char* const x = worker.shared + t * tile_bytes + k0 / kRun * run_bytes<kRun>(rows);
          const char* const stop = end - line < share ? end : line + share;
          Tiles<Set, kRun, kOffset, kWide && Set::kSignedOnly>::rows(
              rows, records, x, k / kRun, sums + (t - tile0) * Set::kTileRows * kPanel, line, stop);
          line = stop;
        }
      }
      for (int64_t t = tile0; t < tile1; t++) {
        const int64_t row = t * Set::kTileRows;
        Set::finish(a, row, at_most(Set::kTileRows, a.rows - row), panel * kPanel,
                    sums + (t - tile0) * Set::kTileRows * kPanel);
      }
    }
  }

};

template <class Set>
void linear_i8(const LinearArgs& a, Worker& w) {
  with_block_type(a.weight->dtype, [&](auto tag) { LinearI8<Set, tag.type>::run(a, w); });
}

template <class Set>
Workspace linear_i8_workspace(const LinearArgs& a, int workers) {
  Workspace need;
  with_block_type(a.weight->dtype,
                  [&](auto tag) { need = LinearI8<Set, tag.type>::workspace(a, workers); });
  return need;
}

}  // namespace
}  // namespace l3v::cpu
#endif
