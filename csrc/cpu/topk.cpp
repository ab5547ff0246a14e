// topk.cpp: the k largest of each row, largest first, the lower index first among equals. A row
// with a NaN, or of -inf alone, is a fault: its ids become -1 and its values NaN, which no
// reader can take for an answer.
#include <cmath>
#include <limits>

#include "ops.h"
#include "topk.h"

namespace l3v::cpu {

void topk_refuse(const TopkArgs& a, Worker& w, int64_t row, int64_t column) {
  w.fault(L3V_FAULT_NOT_FINITE, row, column);
  for (int32_t i = 0; i < a.k; i++) {
    a.ids.i32(row)[i] = -1;
    if (a.values) a.values.f32(row)[i] = std::numeric_limits<float>::quiet_NaN();
  }
}

// Keeps the k best so far in order and slides each new one into its place.
void topk_scalar(const TopkArgs& a, Worker& w) {
  for (int64_t row; (row = w.claim(a.rows)) >= 0;) {
    const float* x = a.x.f32(row);
    Candidate best[kMaxTopk];
    int32_t count = 0;
    int64_t nan = -1;
    for (int64_t c = 0; c < a.cols && nan < 0; c++) {
      if (std::isnan(x[c])) nan = c;
      // Columns come in rising order, so an equal value never passes one that is there.
      int32_t at = count;
      while (at > 0 && x[c] > best[at - 1].value) at--;
      if (at == a.k) continue;
      if (count < a.k) count++;
      for (int32_t i = count - 1; i > at; i--) best[i] = best[i - 1];
      best[at] = {x[c], static_cast<int32_t>(c)};
    }
    if (nan >= 0 || best[0].value == -std::numeric_limits<float>::infinity()) {
      topk_refuse(a, w, row, nan >= 0 ? nan : 0);
      continue;
    }
    for (int32_t i = 0; i < a.k; i++) {
      a.ids.i32(row)[i] = best[i].column;
      if (a.values) a.values.f32(row)[i] = best[i].value;
    }
  }
}

Workspace topk_workspace_scalar(const TopkArgs&, int) { return {}; }

}  // namespace l3v::cpu
