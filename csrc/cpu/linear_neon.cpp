// linear_neon.cpp: linear on 64-bit Arm: one row by the 64 outputs of a panel, sixteen vectors of
// sums. A plain start: rows do not share a read of the weights yet, and block types take the scalar form.
// linear.cpp has the order of the sums.
#if defined(__aarch64__)

#include <arm_neon.h>

#include <algorithm>
#include <cstdint>

#include "../common/float16.h"
#include "mathx.h"
#include "ops.h"
#include "weight.h"

namespace l3v::cpu {
namespace {

constexpr int kVectors = 16;  // of a panel

// sums [64] = x [k] times the panel [k, 64].
template <int32_t dtype>
void row_of(const float* x, bool round, const char* panel, int64_t k, float* sums) {
  float32x4_t acc[kVectors];
  for (int v = 0; v < kVectors; v++) acc[v] = vdupq_n_f32(0.0f);
  for (int64_t i = 0; i < k; i++) {
    const float32x4_t xi = vdupq_n_f32(round ? widen_bf16(round_bf16(x[i])) : x[i]);
    for (int v = 0; v < kVectors; v++) {
      float32x4_t w;
      if (dtype == L3V_F32) {
        w = vld1q_f32(reinterpret_cast<const float*>(panel) + i * kPanel + 4 * v);
      } else if (dtype == L3V_F16) {
        const uint16_t* p = reinterpret_cast<const uint16_t*>(panel) + i * kPanel + 4 * v;
        w = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
      } else {  // a lane holds the pair (even k, odd k): the upper half is a float already
        const uint32x4_t pair =
            vreinterpretq_u32_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(panel) +
                                            i / 2 * kPanel * 2 + 8 * v));
        w = vreinterpretq_f32_u32(i & 1 ? vandq_u32(pair, vdupq_n_u32(0xffff0000u))
                                        : vshlq_n_u32(pair, 16));
      }
      acc[v] = vfmaq_f32(acc[v], xi, w);
    }
  }
  for (int v = 0; v < kVectors; v++) vst1q_f32(sums + 4 * v, acc[v]);
}

}  // namespace

void linear_neon(const LinearArgs& a, Worker& worker) {
  const PackedWeight& w = packed(a.weight);
  if (is_block_type(w.dtype)) return linear_scalar(a, worker);
  const bool round = a.compute == L3V_BF16;
  for (int64_t panel; (panel = worker.claim(w.panels())) >= 0;) {
    const int64_t first = panel * kPanel, count = std::min(kPanel, w.rows - first);
    for (int64_t row = 0; row < a.rows; row++) {
      float sums[kPanel];
      if (w.dtype == L3V_F32)
        row_of<L3V_F32>(a.x.f32(row), round, w.at(panel, 0), w.cols, sums);
      else if (w.dtype == L3V_F16)
        row_of<L3V_F16>(a.x.f32(row), round, w.at(panel, 0), w.cols, sums);
      else
        row_of<L3V_BF16>(a.x.f32(row), round, w.at(panel, 0), w.cols, sums);
      float* out = a.out.f32(row) + first;
      for (int64_t i = 0; i < count; i++) {
        float y = sums[i];
        if (a.bias) y += a.bias.f32()[first + i];
        y = activate(y, a.activation);
        out[i] = a.residual ? y + a.residual.f32(row)[first + i] : y;
      }
    }
  }
}

Workspace linear_workspace_neon(const LinearArgs&, int) { return {}; }

}  // namespace l3v::cpu
#endif
