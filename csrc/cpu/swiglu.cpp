// swiglu.cpp: out = silu(gate) * up (Shazeer 2020, arXiv:2002.05202).
#include "mathx.h"
#include "ops.h"
#include "split.h"

namespace l3v::cpu {

void swiglu_scalar(const SwigluArgs& a, Worker& w) {
  const Tiles tiles(a.rows, a.cols, Tiles::kAnywhere);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* gate = a.gate.f32(row) + t.col;
      const float* up = a.up.f32(row) + t.col;
      float* out = a.out.f32(row) + t.col;
      for (int64_t c = 0; c < t.cols; c++) out[c] = silu(gate[c]) * up[c];
    }
  }
}

}  // namespace l3v::cpu
