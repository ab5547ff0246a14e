// embedding.cpp: out[i] = table row ids[i], widened to float.
//
// A table row is one lane of a panel: a read of 4 bytes (2 for f16) out of every 128 or 256. Few
// rows a step, so it is not worth a layout of its own: a tied table is kept once, for the head.
#include <cstring>

#include "ops.h"
#include "weight.h"

namespace l3v::cpu {

void embedding_scalar(const EmbeddingArgs& a, Worker& worker) {
  const PackedWeight& w = packed(a.weight);
  for (int64_t row; (row = worker.claim(a.rows)) >= 0;) {
    const int32_t id = *a.ids.i32(row);
    if (id == -1) continue;  // something else fills this row
    if (id >= 0 && id < w.rows) {
      weight_row(w, id, a.out.f32(row));
    } else {
      std::memset(a.out.f32(row), 0, static_cast<size_t>(w.cols) * sizeof(float));
      worker.fault(L3V_FAULT_TOKEN_ID, row, id);
    }
  }
}

}  // namespace l3v::cpu
