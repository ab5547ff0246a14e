// softmax.cpp: out = softmax(scale x), row by row. An x of -inf is masked; a row of nothing else
// becomes zeros; a NaN makes its whole row NaN.
#include <cmath>
#include <limits>

#include "ops.h"
#include "split.h"

namespace l3v::cpu {

void softmax_scalar(const SoftmaxArgs& a, Worker& w) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row);
      float* out = a.out.f32(row);

      float max = kMasked;
      bool empty = true;
      for (int64_t c = 0; c < a.cols; c++) {
        if (x[c] == kMasked) continue;
        empty = false;
        if (x[c] * a.scale > max) max = x[c] * a.scale;
      }

      double sum = 0;
      for (int64_t c = 0; c < a.cols; c++) {
        out[c] = x[c] == kMasked ? 0.0f : std::exp(x[c] * a.scale - max);
        sum += out[c];
      }
      if (empty) continue;  // all zeros by now
      for (int64_t c = 0; c < a.cols; c++) out[c] = static_cast<float>(out[c] / sum);
    }
  }
}

}  // namespace l3v::cpu
