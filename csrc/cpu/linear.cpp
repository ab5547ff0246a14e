// linear.cpp: out = activation(x W^T + bias) + residual, the form every other is read against.
//
// Each output is one chain over k = 0, 1, ..., cols - 1:
//   acc = fma(x[k], w[k], acc)   from acc = 0,
// then + bias, activation, + residual. The vector forms keep this very chain, so that for
// compute F32 all sets give equal bits before an activation, for any number of rows and workers.
// Compute BF16 rounds x to bfloat16 and runs the same chain (products of two bf16 are exact in
// float); only linear_avx512bf16.cpp has an order of its own.
#include <algorithm>
#include <cmath>

#include "float16.h"
#include "mathx.h"
#include "ops.h"
#include "weight.h"

namespace l3v::cpu {
namespace {

// acc[lane] += x w over all k, for the 64 outputs of a panel. at(k, lane) is the widened weight.
template <class At>
void chain(const float* x, int64_t cols, bool round, float* acc, At at) {
  for (int64_t k = 0; k < cols; k++) {
    const float xk = round ? widen_bf16(round_bf16(x[k])) : x[k];
    for (int64_t lane = 0; lane < kPanel; lane++) acc[lane] = std::fma(xk, at(k, lane), acc[lane]);
  }
}

}  // namespace

void linear_scalar(const LinearArgs& a, Worker& worker) {
  const PackedWeight& w = packed(a.weight);
  const bool round = a.compute == L3V_BF16;
  for (int64_t task; (task = worker.claim(w.panels() * a.rows)) >= 0;) {
    const int64_t panel = task / a.rows, row = task % a.rows;
    const float* x = a.x.f32(row);
    float acc[kPanel] = {};
    const float* f32 = reinterpret_cast<const float*>(w.at(panel, 0));
    const uint16_t* half = reinterpret_cast<const uint16_t*>(w.at(panel, 0));
    switch (w.dtype) {
      case L3V_F32:
        chain(x, w.cols, round, acc, [=](int64_t k, int64_t i) { return f32[k * kPanel + i]; });
        break;
      case L3V_F16:
        chain(x, w.cols, round, acc,
              [=](int64_t k, int64_t i) { return widen_f16(half[k * kPanel + i]); });
        break;
      default:
        chain(x, w.cols, round, acc, [=](int64_t k, int64_t i) {
          return widen_bf16(half[(k / 2 * kPanel + i) * 2 + (k & 1)]);
        });
    }
    const int64_t first = panel * kPanel, count = std::min(kPanel, w.rows - first);
    for (int64_t i = 0; i < count; i++) {
      float y = acc[i];
      if (a.bias) y += a.bias.f32()[first + i];
      y = activate(y, a.activation);
      if (a.residual) y += a.residual.f32(row)[first + i];
      a.out.f32(row)[first + i] = y;
    }
  }
}

Workspace linear_workspace_scalar(const LinearArgs&, int) { return {}; }

}  // namespace l3v::cpu
