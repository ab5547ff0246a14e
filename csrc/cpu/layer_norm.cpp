// layer_norm.cpp: out = (x - mean) / sqrt(var + eps) * weight + bias, row by row
// (Ba et al. 2016, arXiv:1607.06450). Two passes: the variance is about the mean, since
// E[x^2] - mean^2 cancels when the mean is large.
#include <cmath>

#include "ops.h"
#include "split.h"

namespace l3v::cpu {

void layer_norm_scalar(const LayerNormArgs& a, Worker& w) {
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  const float* weight = a.weight.f32();
  const float* bias = a.bias.f32();
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row);
      float* out = a.out.f32(row);

      double sum = 0;
      for (int64_t c = 0; c < a.cols; c++) sum += x[c];
      const double mean = sum / static_cast<double>(a.cols);

      double squares = 0;
      for (int64_t c = 0; c < a.cols; c++) squares += (x[c] - mean) * (x[c] - mean);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(a.cols) + a.eps);

      for (int64_t c = 0; c < a.cols; c++)
        out[c] = static_cast<float>((x[c] - mean) * scale) * weight[c] + bias[c];
    }
  }
}

}  // namespace l3v::cpu
