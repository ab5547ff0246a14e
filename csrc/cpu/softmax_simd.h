// softmax_simd.h: softmax.cpp on vectors V. The sum runs in the lanes of one vector and is added
// up at the end, so its order is fixed by the column alone.
#ifndef L3V_CPU_SOFTMAX_SIMD_H
#define L3V_CPU_SOFTMAX_SIMD_H

#include <limits>

#include "split.h"

namespace l3v::cpu {

// scale x, but -inf wherever x is: no scale may turn a masked value into another one.
template <class V>
static inline V scaled_or_masked(V x, V scale) {
  const V masked = V::all(-std::numeric_limits<float>::infinity());
  return where_equal(x, masked, masked, x * scale);
}

template <class V>
static bool all_masked(const float* x, int64_t n) {
  for (int64_t c = 0; c < n; c++)
    if (!(x[c] == -std::numeric_limits<float>::infinity())) return false;
  return true;
}

template <class V>
void softmax_simd(const SoftmaxArgs& a, Worker& w) {
  constexpr int L = V::kLanes;
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  const int rest = static_cast<int>(a.cols % L);
  const int64_t full = a.cols - rest;
  const V scale = V::all(a.scale), masked = V::all(-std::numeric_limits<float>::infinity());

  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row);
      float* out = a.out.f32(row);

      V best = masked;
      for (int64_t c = 0; c < full; c += L)
        best = max(scaled_or_masked(V::load(x + c), scale), best);
      if (rest != 0) best = max(scaled_or_masked(V::load(x + full, rest, masked), scale), best);
      const float top = largest(best);
      // NaN never wins a max, so this row may hold some: they must come through.
      if (top == -std::numeric_limits<float>::infinity() && all_masked<V>(x, a.cols)) {
        for (int64_t c = 0; c < a.cols; c++) out[c] = 0;
        continue;
      }

      V sum = V::zero();
      for (int64_t c = 0; c < full; c += L) {
        const V p = exp(scaled_or_masked(V::load(x + c), scale) - V::all(top));
        p.store(out + c);
        sum = sum + p;
      }
      if (rest != 0) {
        const V p = exp(scaled_or_masked(V::load(x + full, rest, masked), scale) - V::all(top));
        p.store(out + full, rest);
        sum = sum + p;  // the lanes behind the row are exp(-inf)
      }
      const V all = V::all(total(sum));
      for (int64_t c = 0; c < full; c += L) (V::load(out + c) / all).store(out + c);
      if (rest != 0) (V::load(out + full, rest, masked) / all).store(out + full, rest);
    }
  }
}

}  // namespace l3v::cpu
#endif
