// ragged.cpp: the checks of device data behind ragged.h.
#include "ragged.h"

namespace l3v::cpu {
namespace {

template <class Args>
bool read_sequence(const Args& a, Worker& w, int64_t s, bool all_pages, PagedSequence* out) {
  const Rows rows = rows_of(a.q_offsets, s);
  const int64_t length = *a.lengths.i32(s), first = length - rows.count();
  *out = {rows, first, length, a.page_table.i32(s), a.page_size};
  if (length == 0 || rows.count() == 0) return false;
  if (first < 0) {
    w.fault(L3V_FAULT_POSITION, s, first);
    return false;
  }
  if (length > a.max_pages * a.page_size) {
    w.fault(L3V_FAULT_POSITION, s, length - 1);
    return false;
  }
  for (int64_t p = all_pages ? 0 : first / a.page_size; p <= (length - 1) / a.page_size; p++) {
    if (out->pages[p] >= 0 && out->pages[p] < a.pages) continue;
    w.fault(L3V_FAULT_PAGE, s, out->pages[p]);
    return false;
  }
  return true;
}

}  // namespace

Rows rows_of(const Matrix& offsets, int64_t s) { return {*offsets.i32(s), *offsets.i32(s + 1)}; }

int64_t sound_sequences(const Matrix& offsets, int64_t sequences, int64_t rows) {
  if (*offsets.i32(0) < 0) return 0;
  for (int64_t s = 0; s < sequences; s++) {
    const Rows r = rows_of(offsets, s);
    if (r.end < r.begin || r.end > rows) return s;
  }
  return sequences;
}

bool paged_sequence(const PagedAttentionArgs& a, Worker& w, int64_t s, PagedSequence* out) {
  return read_sequence(a, w, s, true, out);
}

bool paged_sequence(const CacheAppendArgs& a, Worker& w, int64_t s, PagedSequence* out) {
  return read_sequence(a, w, s, false, out);
}

}  // namespace l3v::cpu
