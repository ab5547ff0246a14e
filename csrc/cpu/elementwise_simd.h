// elementwise_simd.h: swiglu.cpp, activation.cpp, check_finite.cpp and the turning of rope.cpp on
// vectors V.
#ifndef L3V_CPU_ELEMENTWISE_SIMD_H
#define L3V_CPU_ELEMENTWISE_SIMD_H

#include <cmath>

#include "rope.h"
#include "split.h"

namespace l3v::cpu {

template <class V>
void swiglu_simd(const SwigluArgs& a, Worker& w) {
  constexpr int L = V::kLanes;
  const Tiles tiles(a.rows, a.cols, Tiles::kAnywhere);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* gate = a.gate.f32(row) + t.col;
      const float* up = a.up.f32(row) + t.col;
      float* out = a.out.f32(row) + t.col;
      int64_t c = 0;
      for (; c + L <= t.cols; c += L)
        (activate(V::load(gate + c), L3V_ACT_SILU) * V::load(up + c)).store(out + c);
      if (const int n = static_cast<int>(t.cols - c)) {
        const V g = activate(V::load(gate + c, n, V::zero()), L3V_ACT_SILU);
        (g * V::load(up + c, n, V::zero())).store(out + c, n);
      }
    }
  }
}

// kActivation is known to the compiler, so that the loop holds one function and no switch.
template <class V, int32_t kActivation>
static void activation_tile(const ActivationArgs& a, const Tile& t) {
  constexpr int L = V::kLanes;
  for (int64_t row = t.row; row < t.row_end; row++) {
    const float* x = a.x.f32(row) + t.col;
    float* out = a.out.f32(row) + t.col;
    int64_t c = 0;
    for (; c + L <= t.cols; c += L) activate(V::load(x + c), kActivation).store(out + c);
    if (const int n = static_cast<int>(t.cols - c))
      activate(V::load(x + c, n, V::zero()), kActivation).store(out + c, n);
  }
}

template <class V>
void activation_simd(const ActivationArgs& a, Worker& w) {
  const Tiles tiles(a.rows, a.cols, Tiles::kAnywhere);
  for (Tile t; tiles.next(w, &t);) {
    switch (a.activation) {
      case L3V_ACT_GELU_TANH: activation_tile<V, L3V_ACT_GELU_TANH>(a, t); break;
      case L3V_ACT_GELU_ERF: activation_tile<V, L3V_ACT_GELU_ERF>(a, t); break;
      case L3V_ACT_GELU_QUICK: activation_tile<V, L3V_ACT_GELU_QUICK>(a, t); break;
      case L3V_ACT_SILU: activation_tile<V, L3V_ACT_SILU>(a, t); break;
      default: activation_tile<V, L3V_ACT_NONE>(a, t);
    }
  }
}

// Adds up x - x, which is 0 or NaN: one test for the row, and a search only where it fails.
template <class V>
static inline bool row_finite(const float* x, int64_t n) {
  constexpr int L = V::kLanes;
  V s[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int64_t c = 0;
  for (; c + 4 * L <= n; c += 4 * L) {
    for (int i = 0; i < 4; i++) {
      const V y = V::load(x + c + i * L);
      s[i] = s[i] + (y - y);
    }
  }
  for (; c < n; c += L) {
    const V y = n - c < L ? V::load(x + c, static_cast<int>(n - c), V::zero()) : V::load(x + c);
    s[0] = s[0] + (y - y);
  }
  return nans((s[0] + s[1]) + (s[2] + s[3])) == 0;
}

template <class V>
void check_finite_simd(const CheckFiniteArgs& a, Worker& w) {
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row);
      if (row_finite<V>(x, a.cols)) continue;
      int64_t c = 0;
      while (std::isfinite(x[c])) c++;
      w.fault(L3V_FAULT_NOT_FINITE, row, c, a.stage);
    }
  }
}

template <class V>
void rope_simd(const RopeArgs& a, Worker& w) {
  constexpr int L = V::kLanes;
  const int32_t half = a.head_dim / 2, full = half - half % L;
  const Tiles tiles(a.rows, int64_t{a.heads} * a.head_dim, Tiles::kWholeRows);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      float cosines[kMaxHeadDim / 2], sines[kMaxHeadDim / 2];
      if (!rope_angles(a, w, row, cosines, sines)) continue;
      for (int32_t h = 0; h < a.heads; h++) {
        float* low = a.x.f32(row) + h * a.head_dim;
        float* high = low + half;
        for (int32_t j = 0; j < full; j += L) {
          const V x = V::load(low + j), y = V::load(high + j);
          const V c = V::load(cosines + j), s = V::load(sines + j);
          (x * c - y * s).store(low + j);
          (y * c + x * s).store(high + j);
        }
        if (const int n = half - full) {
          const V x = V::load(low + full, n, V::zero()), y = V::load(high + full, n, V::zero());
          const V c = V::load(cosines + full, n, V::zero()), s = V::load(sines + full, n, V::zero());
          (x * c - y * s).store(low + full, n);
          (y * c + x * s).store(high + full, n);
        }
      }
    }
  }
}

}  // namespace l3v::cpu
#endif
