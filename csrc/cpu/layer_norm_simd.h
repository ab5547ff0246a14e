// layer_norm_simd.h: layer_norm.cpp on vectors V.
//
// A row lies in the first cache through all three passes, so reading x from memory is what bounds
// it. Sums run in four vectors and one fixed order. The mean is rounded to float, and sum(x - mean)
// is what that lost (the corrected two-pass algorithm, Chan, Golub & LeVeque 1983).
#ifndef L3V_CPU_LAYER_NORM_SIMD_H
#define L3V_CPU_LAYER_NORM_SIMD_H

#include <cmath>

#include "split.h"

namespace l3v::cpu {

// Sum of the n values of x.
template <class V>
static inline float row_sum(const float* x, int64_t n) {
  constexpr int L = V::kLanes;
  V s[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int64_t c = 0;
  for (; c + 4 * L <= n; c += 4 * L)
    for (int i = 0; i < 4; i++) s[i] = s[i] + V::load(x + c + i * L);
  for (; c + L <= n; c += L) s[0] = s[0] + V::load(x + c);
  if (c < n) s[1] = s[1] + V::load(x + c, static_cast<int>(n - c), V::zero());
  return total((s[0] + s[1]) + (s[2] + s[3]));
}

template <class V>
void layer_norm_simd(const LayerNormArgs& a, Worker& w) {
  constexpr int L = V::kLanes;
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  const float* weight = a.weight.f32();
  const float* bias = a.bias.f32();
  const float n = static_cast<float>(a.cols);
  const int rest = static_cast<int>(a.cols % L);
  const int64_t full = a.cols - rest;

  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row);
      float* out = a.out.f32(row);

      const V mean = V::all(row_sum<V>(x, a.cols) / n);
      V sum = V::zero(), sum1 = V::zero(), squares = V::zero(), squares1 = V::zero();
      int64_t c = 0;
      for (; c + 2 * L <= a.cols; c += 2 * L) {
        const V d = V::load(x + c) - mean, e = V::load(x + c + L) - mean;
        sum = sum + d;
        sum1 = sum1 + e;
        squares = fma(d, d, squares);
        squares1 = fma(e, e, squares1);
      }
      if (c < full) {
        const V d = V::load(x + c) - mean;
        sum = sum + d;
        squares = fma(d, d, squares);
      }
      if (rest != 0) {
        const V d = V::load(x + full, rest, mean) - mean;  // the other lanes become 0
        sum1 = sum1 + d;
        squares1 = fma(d, d, squares1);
      }
      const float off = total(sum + sum1) / n;
      const float variance = total(squares + squares1) / n - off * off;
      const V scale = V::all(1.0f / std::sqrt(variance + a.eps)), correction = V::all(off);

      for (c = 0; c < full; c += L) {
        const V y = (V::load(x + c) - mean - correction) * scale;
        fma(y, V::load(weight + c), V::load(bias + c)).store(out + c);
      }
      if (rest != 0) {
        const V y = (V::load(x + full, rest, V::zero()) - mean - correction) * scale;
        const V b = V::load(bias + full, rest, V::zero());
        fma(y, V::load(weight + full, rest, V::zero()), b).store(out + full, rest);
      }
    }
  }
}

}  // namespace l3v::cpu
#endif
