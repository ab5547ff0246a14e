// copy_rows.cpp: out[out_index[i]] = x[x_index[i]]: gather, scatter or copy of rows of any type.
// One form for all sets: memcpy is as fast as memory.
#include <cstring>

#include "ops.h"
#include "split.h"

namespace l3v::cpu {
namespace {

int64_t element_size(int32_t dtype) {
  switch (dtype) {
    case L3V_F16:
    case L3V_BF16: return 2;
    case L3V_U8:
    case L3V_I8: return 1;
    default: return 4;
  }
}

// Row i of one side: index[i], or i without an index. False: the row is to be skipped.
bool resolve(const Matrix& index, int64_t i, int64_t rows, Worker& w, int64_t* row) {
  *row = index ? *index.i32(i) : i;
  if (*row >= 0 && *row < rows) return true;
  if (*row != -1) w.fault(L3V_FAULT_ROW_INDEX, i, *row);
  return false;
}

}  // namespace

void copy_rows_scalar(const CopyRowsArgs& a, Worker& w) {
  const int64_t size = element_size(a.x.dtype);
  const Tiles tiles(a.rows, a.cols, Tiles::kWholeRows);
  for (Tile t; tiles.next(w, &t);) {
    for (int64_t i = t.row; i < t.row_end; i++) {
      int64_t from, to;
      if (!resolve(a.x_index, i, a.x_rows, w, &from)) continue;
      if (!resolve(a.out_index, i, a.out_rows, w, &to)) continue;
      std::memcpy(a.out.data + to * a.out.stride * size, a.x.data + from * a.x.stride * size,
                  static_cast<size_t>(a.cols * size));
    }
  }
}

}  // namespace l3v::cpu
