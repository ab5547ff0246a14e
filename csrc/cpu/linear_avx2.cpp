// linear_avx2.cpp: linear with AVX2, FMA and F16C: tiles of 6 rows by 16 outputs (12 vectors of
// sums of the 16 there are), four of them side by side over a panel. linear.cpp has the order of
// the sums.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

#include "ops.h"
#include "weight.h"

#include "target_avx2.h"

#include "blocks_avx2.h"
#include "linear_i8.h"
#include "linear_tiles.h"
#include "vecmath_avx2.h"

namespace l3v::cpu {
namespace {

constexpr int kStrip = 16;  // outputs of a tile

// Two vectors of the panel's column k at outputs 0..15 from w on, widened. For bf16, w is the pair
// that k is in.
template <int32_t dtype>
inline __attribute__((always_inline)) void load_weights(const char* w, bool odd, __m256* out) {
  for (int v = 0; v < 2; v++) {
    if (dtype == L3V_F32) {
      out[v] = _mm256_loadu_ps(reinterpret_cast<const float*>(w) + 8 * v);
    } else if (dtype == L3V_F16) {
      out[v] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w) + v));
    } else {
      const __m256i pair = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w) + v);
      out[v] = _mm256_castsi256_ps(
          odd ? _mm256_and_si256(pair, _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u)))
              : _mm256_slli_epi32(pair, 16));
    }
  }
}

template <int R>
inline __attribute__((always_inline)) void add_products(const float* x, int64_t stride, const __m256* w,
                                                        __m256 (&acc)[R][2]) {
#pragma GCC unroll 6
  for (int r = 0; r < R; r++) {
    const __m256 xr = _mm256_set1_ps(x[r * stride]);
    acc[r][0] = _mm256_fmadd_ps(xr, w[0], acc[r][0]);
    acc[r][1] = _mm256_fmadd_ps(xr, w[1], acc[r][1]);
  }
}

// sums [R, 16 of 64] += x [R, k] times a strip of the panel's block.
// With kKeep the widened weights are stored to keep.
template <int R, int32_t dtype, bool kKeep>
void strip_of(const float* x, int64_t stride, const char* w, float* keep, int64_t k, float* sums,
              bool first) {
  __m256 acc[R][2];
  for (int r = 0; r < R; r++)
    for (int v = 0; v < 2; v++)
      acc[r][v] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(sums + r * kPanel + 8 * v);
  const auto column = [&](int64_t i, bool odd) {
    __m256 wk[2];
    load_weights<dtype>(w, odd, wk);
    if (kKeep) {
      _mm256_storeu_ps(keep + i * kPanel, wk[0]);
      _mm256_storeu_ps(keep + i * kPanel + 8, wk[1]);
    }
    add_products<R>(x + i, stride, wk, acc);
  };
  if (dtype == L3V_BF16) {
    int64_t i = 0;
    for (; i + 1 < k; i += 2, w += kPanel * 4) {
      column(i, false);
      column(i + 1, true);
    }
    if (i < k) column(i, false);
  } else {
    for (int64_t i = 0; i < k; i++, w += kPanel * (dtype == L3V_F32 ? 4 : 2)) column(i, false);
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < 2; v++) _mm256_storeu_ps(sums + r * kPanel + 8 * v, acc[r][v]);
}

// A row alone keeps all 64 sums in registers, so that its panel is read front to back.
template <int32_t dtype>
void row_of(const float* x, const char* w, int64_t k, float* sums, bool first) {
  constexpr int64_t strip_bytes = kStrip * (dtype == L3V_F16 ? 2 : 4);
  constexpr int64_t columns = dtype == L3V_BF16 ? 2 : 1, step_bytes = kPanel * (dtype == L3V_F16 ? 2 : 4);
  __m256 acc[4][1][2];
  for (int s = 0; s < 4; s++)
    for (int v = 0; v < 2; v++)
      acc[s][0][v] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(sums + kStrip * s + 8 * v);
  __m256 wk[2];
  for (int64_t i = 0; i < k; i += columns, w += step_bytes) {
#pragma GCC unroll 4
    for (int s = 0; s < 4; s++) {
      load_weights<dtype>(w + s * strip_bytes, false, wk);
      add_products<1>(x + i, 0, wk, acc[s]);
    }
    if (dtype == L3V_BF16 && i + 1 < k) {
#pragma GCC unroll 4
      for (int s = 0; s < 4; s++) {
        load_weights<dtype>(w + s * strip_bytes, true, wk);
        add_products<1>(x + i + 1, 0, wk, acc[s]);
      }
    }
  }
  for (int s = 0; s < 4; s++)
    for (int v = 0; v < 2; v++) _mm256_storeu_ps(sums + kStrip * s + 8 * v, acc[s][0][v]);
}

struct Avx2 {
  static constexpr bool kPairProducts = false;
  static constexpr int64_t kTileRows = 6;
  static constexpr int64_t kBlockTiles = 16;
  static constexpr int64_t kGroup = 12;
  static constexpr int64_t kStep = 192;
  static constexpr int64_t kFewTiles = 2;

  static void round_pairs(const float*, int64_t, int64_t, int64_t, uint16_t*, int64_t) {}
  static void tile_pairs(int64_t, const uint16_t*, int64_t, const char*, int64_t, float*, bool,
                         const Ahead&) {}

  template <int32_t dtype, bool kKeep>
  static void tile_rows(int64_t rows, const float* x, int64_t stride, const char* block, float* keep,
                        int64_t k, float* sums, bool first) {
    if (rows == 1 && !kKeep) return row_of<dtype>(x, block, k, sums, first);
    for (int s = 0; s < kPanel / kStrip; s++) {
      const char* w = block + s * kStrip * (dtype == L3V_F16 ? 2 : 4);
      float* const to = sums + s * kStrip;
      float* const kept = kKeep ? keep + s * kStrip : nullptr;
      switch (rows) {
        case 1: strip_of<1, dtype, kKeep>(x, stride, w, kept, k, to, first); break;
        case 2: strip_of<2, dtype, kKeep>(x, stride, w, kept, k, to, first); break;
        case 3: strip_of<3, dtype, kKeep>(x, stride, w, kept, k, to, first); break;
        case 4: strip_of<4, dtype, kKeep>(x, stride, w, kept, k, to, first); break;
        case 5: strip_of<5, dtype, kKeep>(x, stride, w, kept, k, to, first); break;
        default: strip_of<6, dtype, kKeep>(x, stride, w, kept, k, to, first);
      }
    }
  }

  // keep: where the widened weights of the block go, or null.
  static void tile(int64_t rows, const float* x, int64_t stride, int32_t dtype, const char* block,
                   float* keep, int64_t k, float* sums, bool first, const Ahead&) {
    if (dtype == L3V_F32)
      tile_rows<L3V_F32, false>(rows, x, stride, block, keep, k, sums, first);
    else if (dtype == L3V_F16 && keep == nullptr)
      tile_rows<L3V_F16, false>(rows, x, stride, block, keep, k, sums, first);
    else if (dtype == L3V_F16)
      tile_rows<L3V_F16, true>(rows, x, stride, block, keep, k, sums, first);
    else if (keep == nullptr)
      tile_rows<L3V_BF16, false>(rows, x, stride, block, keep, k, sums, first);
    else
      tile_rows<L3V_BF16, true>(rows, x, stride, block, keep, k, sums, first);
  }

  // A block type's columns as floats.
  static void unpack(int32_t dtype, const char* block, int64_t k, float* out) {
    block_floats<Rows8>(dtype, block, k, out);
  }

  // The first `count` of eight lanes.
  static __m256i first_lanes(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count < 8 ? count : 8)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  // Rounded to bf16 and widened again.
  static __m256 round(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i tie = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), tie);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 y = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet),
                                      _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_and_ps(y, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  }

  static void copy_x(const float* x, int64_t stride, int64_t rows, int64_t k, bool to_bf16, float* out,
                     int64_t out_stride) {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < k; i += 8) {
        const __m256 v = _mm256_maskload_ps(x + r * stride + i, first_lanes(k - i));
        _mm256_storeu_ps(out + r * out_stride + i, to_bf16 ? round(v) : v);
      }
  }

  static void finish(const LinearArgs& a, int64_t row, int64_t rows, int64_t column,
                     const float* sums) {
    const int64_t count = at_most(kPanel, a.weight->rows - column);
    const float* bias = a.bias ? a.bias.f32() + column : nullptr;
    for (int64_t r = 0; r < rows; r++) {
      const float* residual = a.residual ? a.residual.f32(row + r) + column : nullptr;
      float* out = a.out.f32(row + r) + column;
      for (int64_t i = 0; i < count; i += 8) {
        const __m256i m = first_lanes(count - i);
        __m256 y = _mm256_loadu_ps(sums + r * kPanel + i);
        if (bias != nullptr) y = _mm256_add_ps(y, _mm256_maskload_ps(bias + i, m));
        y = vactivate(y, a.activation);
        if (residual != nullptr) y = _mm256_add_ps(y, _mm256_maskload_ps(residual + i, m));
        _mm256_maskstore_ps(out + i, m, y);
      }
    }
  }
};

// Compute I8: four rows by 16 outputs. vpmaddubsw adds two products of an unsigned and a signed byte in 16
// bits, which is exact for quants up to 127. Wider ones go in as magnitudes, their signs given to x.
struct Avx2I8 : Avx2 {
  using V = Rows8;
  static constexpr bool kSignedOnly = true;
  static constexpr int64_t kTileRows = 4, kBlockTiles = 24, kFewRows = 2, kAhead = 2048;
  static constexpr int kStrip = 2;

  template <bool kWide>
  static L3V_INLINE __m256i dot(__m256i sum, __m256i q, int32_t x) {
    __m256i xs = _mm256_set1_epi32(x);
    if (kWide) {
      const __m256i w = _mm256_xor_si256(q, _mm256_set1_epi8(-128));
      xs = _mm256_sign_epi8(xs, w);
      q = _mm256_abs_epi8(w);
    }
    const __m256i pairs = _mm256_maddubs_epi16(q, xs);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace

void linear_avx2(const LinearArgs& a, Worker& w) {
  if (a.compute == L3V_I8) return linear_i8<Avx2I8>(a, w);
  linear_tiles<Avx2>(a, w);
}
Workspace linear_workspace_avx2(const LinearArgs& a, int workers) {
  if (a.compute == L3V_I8) return linear_i8_workspace<Avx2I8>(a, workers);
  return linear_tiles_workspace<Avx2>(a, workers);
}

}  // namespace l3v::cpu

#include "target_end.h"
#endif
