// activation.cpp: out = activation(x), element by element; the functions are in mathx.h.
#include "mathx.h"
#include "ops.h"
#include "split.h"

namespace l3v::cpu {

void activation_scalar(const ActivationArgs& a, Worker& w) {
  const Tiles tiles(a.rows, a.cols, Tiles::kAnywhere);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row) + t.col;
      float* out = a.out.f32(row) + t.col;
      for (int64_t c = 0; c < t.cols; c++) out[c] = activate(x[c], a.activation);
    }
  }
}

}  // namespace l3v::cpu
