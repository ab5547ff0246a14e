// rms_norm.cpp: out = x / sqrt(mean(x^2) + eps) * weight, row by row
// (Zhang & Sennrich 2019, arXiv:1910.07467).
#include <cmath>

#include "ops.h"
#include "split.h"

namespace l3v::cpu {

void rms_norm_scalar(const RmsNormArgs& a, Worker& w) {
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  const float* weight = a.weight.f32();
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row);
      float* out = a.out.f32(row);

      double squares = 0;
      for (int64_t c = 0; c < a.cols; c++) squares += static_cast<double>(x[c]) * x[c];
      const double scale = 1 / std::sqrt(squares / static_cast<double>(a.cols) + a.eps);

      for (int64_t c = 0; c < a.cols; c++) out[c] = static_cast<float>(x[c] * scale) * weight[c];
    }
  }
}

}  // namespace l3v::cpu
