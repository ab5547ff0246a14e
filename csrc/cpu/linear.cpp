// linear.cpp: out = activation(x W^T + bias) + residual, the form every other is read against.
//
// Each output is one chain over k = 0, 1, ..., cols - 1:
//   acc = fma(x[k], w[k], acc)   from acc = 0,
// then + bias, activation, + residual. The vector forms keep this very chain, so that for
// compute F32 all sets give equal bits before an activation, for any number of rows and workers.
// Compute BF16 rounds x to bfloat16 and runs the same chain (products of two bf16 are exact in
// float); only linear_avx512bf16.cpp has an order of its own. Block types run the chain on their
// dequantised values, or compute I8, the chain of linear_i8.h.
#include <algorithm>
#include <cmath>

#include "../common/float16.h"
#include "mathx.h"
#include "blocks.h"
#include "ops.h"
#include "quantized.h"
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

// A panel of a block type by at most kRows rows of x, each of stride floats: acc [kRows][64]. A row of a
// block is taken apart once for all of them.
constexpr int64_t kRows = 16;

template <int32_t kType>
void chain_blocks(const float* x, int64_t stride, int64_t rows, const char* block, int64_t cols,
                  bool int8, float (&acc)[kRows][kPanel]) {
  using U = Unpack<OneRow, kType>;
  for (int64_t k = 0; k < cols; k += U::kElements, block += U::kBytes) {
    int8_t q[kRows][U::kElements];
    float d[kRows][U::kElements / kChunk];
    for (int64_t r = 0; int8 && r < rows; r++)
      for (int c = 0; c < U::kElements / kChunk; c++)
        d[r][c] = quantize_chunk(x + r * stride + k + c * kChunk, q[r] + c * kChunk);
    for (int lane = 0; lane < kPanel; lane++) {
      RowValues<kType> w;
      w.unpack(block, lane);
      for (int64_t r = 0; r < rows; r++) {
        float y = acc[r][lane];
        for (int i = 0; !int8 && i < U::kElements; i++) y = std::fma(x[r * stride + k + i], w.value(i), y);
        for (int run = 0; int8 && run < U::kRuns; run++) {
          int32_t products = 0, sum = 0;
          for (int i = run * U::kRun; i < (run + 1) * U::kRun; i++) {
            products += (w.q[i] - U::kZero) * q[r][i];
            sum += q[r][i];
          }
          const float scale = d[r][run * U::kRun / kChunk];
          y = std::fma(static_cast<float>(products) * scale, w.scale[run], y);
          if (U::kOffset) y = std::fma(scale * static_cast<float>(sum), w.offset[run], y);
        }
        acc[r][lane] = y;
      }
    }
  }
}

void finish(const LinearArgs& a, int64_t row, int64_t panel, const float* acc) {
  const int64_t first = panel * kPanel, count = std::min(kPanel, a.weight->rows - first);
  for (int64_t i = 0; i < count; i++) {
    float y = acc[i];
    if (a.bias) y += a.bias.f32()[first + i];
    y = activate(y, a.activation);
    if (a.residual) y += a.residual.f32(row)[first + i];
    a.out.f32(row)[first + i] = y;
  }
}

void linear_blocks(const LinearArgs& a, Worker& worker) {
  const PackedWeight& w = packed(a.weight);
  const int64_t blocks = (a.rows + kRows - 1) / kRows;
  for (int64_t task; (task = worker.claim(w.panels() * blocks)) >= 0;) {
    const int64_t panel = task / blocks, row = task % blocks * kRows, rows = std::min(kRows, a.rows - row);
    float acc[kRows][kPanel] = {};
    with_block_type(w.dtype, [&](auto tag) {
      chain_blocks<tag.type>(a.x.f32(row), a.x.stride, rows, w.at(panel, 0), w.cols, a.compute == L3V_I8, acc);
    });
    for (int64_t r = 0; r < rows; r++) finish(a, row + r, panel, acc[r]);
  }
}

}  // namespace

void linear_scalar(const LinearArgs& a, Worker& worker) {
  const PackedWeight& w = packed(a.weight);
  if (is_block_type(w.dtype)) return linear_blocks(a, worker);
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
    finish(a, row, panel, acc);
  }
}

Workspace linear_workspace_scalar(const LinearArgs&, int) { return {}; }

}  // namespace l3v::cpu
