// check_finite.cpp: looks for NaN and infinity, the first of each row.
#include <cmath>

#include "ops.h"
#include "split.h"

namespace l3v::cpu {

void check_finite_scalar(const CheckFiniteArgs& a, Worker& w) {
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t row = t.row; row < t.row_end; row++) {
      const float* x = a.x.f32(row);
      for (int64_t c = 0; c < a.cols; c++) {
        if (std::isfinite(x[c])) continue;
        w.fault(L3V_FAULT_NOT_FINITE, row, c, a.stage);
        break;  // the first of a row stands for it
      }
    }
  }
}

}  // namespace l3v::cpu
