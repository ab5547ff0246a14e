// linear_kernels_avx512.h: the tile kernels that linear_avx512.cpp and linear_avx512bf16.cpp hand
// to linear_tiles.h. Included behind a target pragma.
#ifndef L3V_CPU_LINEAR_KERNELS_AVX512_H
#define L3V_CPU_LINEAR_KERNELS_AVX512_H

#include <immintrin.h>

#include "blocks_avx512.h"
#include "linear_tiles.h"
#include "vecmath_avx512.h"
#include "weight.h"

namespace l3v::cpu {
namespace {

constexpr int kVectors = 4;  // of a panel

// Widened weights of one k: w is the panel's column as stored.
inline void load_f32(const float* w, __m512* out) {
  for (int v = 0; v < kVectors; v++) out[v] = _mm512_loadu_ps(w + 16 * v);
}
inline void store_f32(float* to, const __m512* w) {
  for (int v = 0; v < kVectors; v++) _mm512_storeu_ps(to + 16 * v, w[v]);
}
inline void load_f16(const uint16_t* w, __m512* out) {
  for (int v = 0; v < kVectors; v++)
    out[v] = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 16 * v)));
}
// A pair of columns: the low half of each lane is k, the high half k + 1.
inline void load_bf16(const uint16_t* w, __m512* even, __m512* odd) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u));
  for (int v = 0; v < kVectors; v++) {
    const __m512i pair = _mm512_loadu_si512(w + 32 * v);
    even[v] = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    odd[v] = _mm512_castsi512_ps(_mm512_and_si512(pair, mask));
  }
}

template <int R>
inline __attribute__((always_inline)) void load_sums(const float* sums, bool first,
                                                     __m512 (&acc)[R][kVectors]) {
  // A masked load of no lane is zeros, and does not branch.
  const __mmask16 lanes = first ? 0 : 0xffff;
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++)
      acc[r][v] = _mm512_maskz_loadu_ps(lanes, sums + r * kPanel + 16 * v);
}
template <int R>
inline __attribute__((always_inline)) void store_sums(float* sums,
                                                      const __m512 (&acc)[R][kVectors]) {
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) _mm512_storeu_ps(sums + r * kPanel + 16 * v, acc[r][v]);
}

template <int R>
inline __attribute__((always_inline)) void add_products(const float* x, int64_t stride,
                                                        const __m512* w,
                                                        __m512 (&acc)[R][kVectors]) {
#pragma GCC unroll 6
  for (int r = 0; r < R; r++) {
    const __m512 xr = _mm512_set1_ps(x[r * stride]);
    for (int v = 0; v < kVectors; v++) acc[r][v] = _mm512_fmadd_ps(xr, w[v], acc[r][v]);
  }
}

// Brings the weights 4 KiB ahead of w near. The processor's own prefetch stops at page ends, and the
// window of instructions in flight is too short for it once weights are widened or rows shared.
inline void fetch_ahead(const void* w, int lines) {
  for (int i = 0; i < lines; i++)
    _mm_prefetch(static_cast<const char*>(w) + 4096 + 64 * i, _MM_HINT_T0);
}

// sums [R, 64] += x [R, k] times the panel's block [k, 64].
// With kKeep the widened weights are stored to keep.
template <int R, int32_t dtype, bool kKeep>
void tile_of(const float* x, int64_t stride, const char* block, float* keep, int64_t k, float* sums,
             bool first, Ahead ahead) {
  __m512 acc[R][kVectors];
  load_sums<R>(sums, first, acc);
  if (dtype == L3V_BF16) {
    const uint16_t* w = reinterpret_cast<const uint16_t*>(block);
    int64_t i = 0;
    for (; i + 1 < k; i += 2, w += 2 * kPanel) {
      if (ahead.stream) fetch_ahead(w, 4);
      if (ahead.line < ahead.end) _mm_prefetch(ahead.line, _MM_HINT_T1), ahead.line += 64;
      __m512 even[kVectors], odd[kVectors];
      load_bf16(w, even, odd);
      if (kKeep) {
        store_f32(keep, even), store_f32(keep + kPanel, odd);
        keep += 2 * kPanel;
      }
      add_products<R>(x + i, stride, even, acc);
      add_products<R>(x + i + 1, stride, odd, acc);
    }
    if (i < k) {
      __m512 even[kVectors], odd[kVectors];
      load_bf16(w, even, odd);
      if (kKeep) store_f32(keep, even);
      add_products<R>(x + i, stride, even, acc);
    }
  } else if (dtype == L3V_F16) {
    const uint16_t* w = reinterpret_cast<const uint16_t*>(block);
    for (int64_t i = 0; i < k; i++, w += kPanel) {
      if (ahead.stream) fetch_ahead(w, 2);
      if (ahead.line < ahead.end) _mm_prefetch(ahead.line, _MM_HINT_T1), ahead.line += 64;
      __m512 wk[kVectors];
      load_f16(w, wk);
      if (kKeep) store_f32(keep + i * kPanel, wk);
      add_products<R>(x + i, stride, wk, acc);
    }
  } else {
    const float* w = reinterpret_cast<const float*>(block);
    int64_t i = 0;
    for (; i + 4 <= k; i += 4) {
      if (ahead.line < ahead.end) _mm_prefetch(ahead.line, _MM_HINT_T1), ahead.line += 64;
#pragma GCC unroll 4
      for (int u = 0; u < 4; u++, w += kPanel) {
        if (ahead.stream) fetch_ahead(w, 4);
        __m512 wk[kVectors];
        load_f32(w, wk);
        add_products<R>(x + i + u, stride, wk, acc);
      }
    }
    for (; i < k; i++, w += kPanel) {
      __m512 wk[kVectors];
      load_f32(w, wk);
      add_products<R>(x + i, stride, wk, acc);
    }
  }
  store_sums<R>(sums, acc);
}

struct Avx512Kernels {
  static constexpr int64_t kTileRows = 6;
  // In L2 at once: two blocks of x (156 KiB), the sums (288 KiB), two blocks of weights and one
  // widened (144 KiB): half of the 1 or 2 MiB there are. Larger blocks measured slower where others
  // use the core too, smaller ones read memory more often.
  static constexpr int64_t kBlockTiles = 16;  // 96 rows
  static constexpr int64_t kGroup = 12;
  static constexpr int64_t kStep = 192;
  static constexpr int64_t kFewTiles = 2;

  template <int32_t dtype, bool kKeep>
  static void tile_rows(int64_t rows, const float* x, int64_t stride, const char* block, float* keep,
                        int64_t k, float* sums, bool first, const Ahead& ahead) {
    switch (rows) {
      case 1: return tile_of<1, dtype, kKeep>(x, stride, block, keep, k, sums, first, ahead);
      case 2: return tile_of<2, dtype, kKeep>(x, stride, block, keep, k, sums, first, ahead);
      case 3: return tile_of<3, dtype, kKeep>(x, stride, block, keep, k, sums, first, ahead);
      case 4: return tile_of<4, dtype, kKeep>(x, stride, block, keep, k, sums, first, ahead);
      case 5: return tile_of<5, dtype, kKeep>(x, stride, block, keep, k, sums, first, ahead);
      default: return tile_of<6, dtype, kKeep>(x, stride, block, keep, k, sums, first, ahead);
    }
  }

  // keep: where the widened weights of the block go, or null.
  static void tile(int64_t rows, const float* x, int64_t stride, int32_t dtype, const char* block,
                   float* keep, int64_t k, float* sums, bool first, const Ahead& ahead) {
    if (dtype == L3V_F32)
      tile_rows<L3V_F32, false>(rows, x, stride, block, keep, k, sums, first, ahead);
    else if (dtype == L3V_F16 && keep == nullptr)
      tile_rows<L3V_F16, false>(rows, x, stride, block, keep, k, sums, first, ahead);
    else if (dtype == L3V_F16)
      tile_rows<L3V_F16, true>(rows, x, stride, block, keep, k, sums, first, ahead);
    else if (keep == nullptr)
      tile_rows<L3V_BF16, false>(rows, x, stride, block, keep, k, sums, first, ahead);
    else
      tile_rows<L3V_BF16, true>(rows, x, stride, block, keep, k, sums, first, ahead);
  }

  // A block type's columns as floats.
  static void unpack(int32_t dtype, const char* block, int64_t k, float* out) {
    block_floats<Rows16>(dtype, block, k, out);
  }

  // The first `count` of sixteen lanes.
  static __mmask16 first_lanes(int64_t count) {
    return count < 16 ? static_cast<__mmask16>((1u << count) - 1) : 0xffff;
  }

  // Sixteen floats rounded to bf16, in the low halves of the lanes.
  static __m512i round(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i tie = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), tie);
    up = _mm512_mask_or_epi32(up, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits,
                              _mm512_set1_epi32(0x400000));
    return _mm512_srli_epi32(up, 16);
  }

  static __m512 rounded(__m512 x) { return _mm512_castsi512_ps(_mm512_slli_epi32(round(x), 16)); }

  static void copy_x(const float* x, int64_t stride, int64_t rows, int64_t k, bool to_bf16, float* out,
                     int64_t out_stride) {
    for (int64_t r = 0; r < rows; r++, x += stride, out += out_stride) {
      int64_t i = 0;
      for (; i + 16 <= k; i += 16) {
        const __m512 v = _mm512_loadu_ps(x + i);
        _mm512_storeu_ps(out + i, to_bf16 ? rounded(v) : v);
      }
      if (i < k) {
        const __m512 v = _mm512_maskz_loadu_ps(first_lanes(k - i), x + i);
        _mm512_storeu_ps(out + i, to_bf16 ? rounded(v) : v);
      }
    }
  }

  static void finish(const LinearArgs& a, int64_t row, int64_t rows, int64_t column,
                     const float* sums) {
    const int64_t count = at_most(kPanel, a.weight->rows - column);
    for (int64_t i = 0; i < count; i += 16) {
      const __mmask16 m = first_lanes(count - i);
      const __m512 bias =
          a.bias ? _mm512_maskz_loadu_ps(m, a.bias.f32() + column + i) : _mm512_setzero_ps();
      for (int64_t r = 0; r < rows; r++) {
        __m512 y = _mm512_loadu_ps(sums + r * kPanel + i);
        if (a.bias) y = _mm512_add_ps(y, bias);
        y = vactivate(y, a.activation);
        if (a.residual)
          y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(m, a.residual.f32(row + r) + column + i));
        _mm512_mask_storeu_ps(a.out.f32(row + r) + column + i, m, y);
      }
    }
  }
};

}  // namespace
}  // namespace l3v::cpu
#endif
