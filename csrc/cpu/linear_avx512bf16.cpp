// linear_avx512bf16.cpp: compute BF16 with the processor's own bf16 dot product.
//
// vdpbf16ps takes pairs along k: acc = fma(x[k + 1], w[k + 1], acc), then acc = fma(x[k], w[k],
// acc), each rounded to nearest even (a million random pairs agree on Sapphire Rapids), denormals
// taken and made as zeros, whatever the float modes. Pairs go in order of k, so an output is one chain
// here too, only another than linear.cpp's; rows and workers do not change it.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "linear_avx512bf16.h"
#include "weight.h"

#include "target_avx512bf16.h"

#include "linear_kernels_avx512.h"
#include "linear_tiles.h"

namespace l3v::cpu {
namespace {

template <int R>
void tile_pairs_of(const uint16_t* x, int64_t stride, const char* block, int64_t k, float* sums,
                   bool first, Ahead ahead) {
  __m512 acc[R][kVectors];
  load_sums<R>(sums, first, acc);
  for (int64_t i = 0; i < k; i += 2, block += 4 * kPanel) {
    if (ahead.stream) fetch_ahead(block, 4);
    if (ahead.line < ahead.end) _mm_prefetch(ahead.line, _MM_HINT_T1), ahead.line += 64;
    __m512bh w[kVectors];
    for (int v = 0; v < kVectors; v++)
      w[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(block + 64 * v));
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) {
      int32_t pair;
      std::memcpy(&pair, x + r * stride + i, sizeof pair);
      const __m512bh xr = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      for (int v = 0; v < kVectors; v++) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], xr, w[v]);
    }
  }
  store_sums<R>(sums, acc);
}

struct Avx512Bf16 : Avx512Kernels {
  static constexpr bool kPairProducts = true;

  // Rows of x as bf16; the missing half of an odd last pair is zero.
  static void round_pairs(const float* x, int64_t stride, int64_t rows, int64_t k, uint16_t* out,
                          int64_t out_stride) {
    // By hand and not with vcvtneps2bf16, which makes zeros of denormals.
    for (int64_t r = 0; r < rows; r++, x += stride, out += out_stride)
      for (int64_t i = 0; i < k; i += 16) {
        const __m512i h = round(_mm512_maskz_loadu_ps(first_lanes(k - i), x + i));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm512_cvtepi32_epi16(h));
      }
  }

  static void tile_pairs(int64_t rows, const uint16_t* x, int64_t stride, const char* block, int64_t k,
                         float* sums, bool first, const Ahead& ahead) {
    switch (rows) {
      case 1: return tile_pairs_of<1>(x, stride, block, k, sums, first, ahead);
      case 2: return tile_pairs_of<2>(x, stride, block, k, sums, first, ahead);
      case 3: return tile_pairs_of<3>(x, stride, block, k, sums, first, ahead);
      case 4: return tile_pairs_of<4>(x, stride, block, k, sums, first, ahead);
      case 5: return tile_pairs_of<5>(x, stride, block, k, sums, first, ahead);
      default: return tile_pairs_of<6>(x, stride, block, k, sums, first, ahead);
    }
  }
};

}  // namespace

void linear_avx512bf16(const LinearArgs& a, Worker& w) { linear_tiles<Avx512Bf16>(a, w); }
Workspace linear_workspace_avx512bf16(const LinearArgs& a, int workers) {
  return linear_tiles_workspace<Avx512Bf16>(a, workers);
}

}  // namespace l3v::cpu

#include "target_end.h"
#endif
