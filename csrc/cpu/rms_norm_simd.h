// rms_norm_simd.h: rms_norm.cpp on vectors V. Bound by reading x; sums in four vectors and one fixed
// order.
#ifndef L3V_CPU_RMS_NORM_SIMD_H
#define L3V_CPU_RMS_NORM_SIMD_H

#include <cmath>

#include "split.h"

namespace l3v::cpu {

template <class V>
static inline float row_square_sum(const float* x, int64_t n) {
  constexpr int L = V::kLanes;
  V s[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int64_t c = 0;
  for (; c + 4 * L <= n; c += 4 * L) {
    for (int i = 0; i < 4; i++) {
      const V y = V::load(x + c + i * L);
      s[i] = fma(y, y, s[i]);
    }
  }
  for (; c + L <= n; c += L) {
    const V y = V::load(x + c);
    s[0] = fma(y, y, s[0]);
  }
  if (c < n) {
    const V y = V::load(x + c, static_cast<int>(n - c), V::zero());
    s[1] = fma(y, y, s[1]);
  }
  return total((s[0] + s[1]) + (s[2] + s[3]));
}

template <class V>
void rms_norm_simd(const RmsNormArgs& a, Worker& w) {
  constexpr int L = V::kLanes;
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  const float* weight = a.weight.f32();
  const int rest = static_cast<int>(a.cols % L);
  const int64_t full = a.cols - rest;

  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row);
      float* out = a.out.f32(row);
      const float mean = row_square_sum<V>(x, a.cols) / static_cast<float>(a.cols);
      const V scale = V::all(1.0f / std::sqrt(mean + a.eps));
      for (int64_t c = 0; c < full; c += L)
        (V::load(x + c) * scale * V::load(weight + c)).store(out + c);
      if (rest != 0) {
        const V y = V::load(x + full, rest, V::zero()) * scale;
        (y * V::load(weight + full, rest, V::zero())).store(out + full, rest);
      }
    }
  }
}

}  // namespace l3v::cpu
#endif
