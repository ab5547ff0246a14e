// rope.cpp: rotary embedding (Su et al. 2021, arXiv:2104.09864) on pairs (j, j + head_dim/2):
//   a = position * frequency[j]      one product, rounded to float
//   x_j'       = x_j cos a - x_{j+d/2} sin a
//   x_{j+d/2}' = x_{j+d/2} cos a + x_j sin a
#include "ops.h"
#include "rope.h"
#include "split.h"

namespace l3v::cpu {

bool rope_angles(const RopeArgs& a, Worker& w, int64_t row, float* cosines, float* sines) {
  const int32_t position = *a.positions.i32(row);
  if (position < 0) {
    w.fault(L3V_FAULT_POSITION, row, position);
    return false;
  }
  for (int32_t j = 0; j < a.head_dim / 2; j++) {
    const float angle = static_cast<float>(position) * a.frequencies.f32()[j];
    cosines[j] = std::cos(angle);
    sines[j] = std::sin(angle);
  }
  return true;
}

void rope_scalar(const RopeArgs& a, Worker& w) {
  const int32_t half = a.head_dim / 2;
  const Tiles tiles(a.rows, int64_t{a.heads} * a.head_dim, Tiles::kWholeRows);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      float c[kMaxHeadDim / 2], s[kMaxHeadDim / 2];
      if (!rope_angles(a, w, row, c, s)) continue;
      for (int32_t h = 0; h < a.heads; h++) {
        float* low = a.x.f32(row) + h * a.head_dim;
        float* high = low + half;
        for (int32_t j = 0; j < half; j++) {
          const float x = low[j], y = high[j];
          low[j] = x * c[j] - y * s[j];
          high[j] = y * c[j] + x * s[j];
        }
      }
    }
  }
}

}  // namespace l3v::cpu
