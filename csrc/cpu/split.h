// split.h: how elementwise and row-wise ops share their work among workers.
//
// [rows, cols] is cut into tiles of about kTileElements, whole rows or parts of one row, and each
// tile is claimed. A small op is one tile: waking a second worker's caches would cost more than
// it saves. No element's arithmetic depends on the cut.
#ifndef L3V_CPU_SPLIT_H
#define L3V_CPU_SPLIT_H

#include "cpu.h"

namespace l3v::cpu {

constexpr int64_t kTileElements = 8192;  // 32 KiB of float: some microseconds of work

struct Tile {
  int64_t row, row_end, col, cols;
};

class Tiles {
 public:
  enum Cut { kAnywhere, kWholeRows };
  Tiles(int64_t rows, int64_t cols, Cut cut) : rows_(rows), cols_(cols) {
    per_col_ = cut == kAnywhere && cols >= 2 * kTileElements ? kTileElements : cols;
    per_row_ = per_col_ < kTileElements ? kTileElements / per_col_ : 1;
    across_ = (cols + per_col_ - 1) / per_col_;
  }
  // Claims the next tile for w; false when none is left.
  bool next(Worker& w, Tile* t) const {
    const int64_t i = w.claim((rows_ + per_row_ - 1) / per_row_ * across_);
    if (i < 0) return false;
    t->row = i / across_ * per_row_;
    t->row_end = t->row + per_row_ < rows_ ? t->row + per_row_ : rows_;
    t->col = i % across_ * per_col_;
    t->cols = t->col + per_col_ < cols_ ? per_col_ : cols_ - t->col;
    return true;
  }

 private:
  int64_t rows_, cols_, per_row_, per_col_, across_;
};

}  // namespace l3v::cpu
#endif
