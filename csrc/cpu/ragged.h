// ragged.h: sequences of a step by their offsets, and of a paged cache by their page tables. All of
// it is device data that only the running op can check; every worker checks it alike.
#ifndef L3V_CPU_RAGGED_H
#define L3V_CPU_RAGGED_H

#include "cpu.h"

namespace l3v::cpu {

// Rows [begin, end) of a view.
struct Rows {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

inline Rows rows_of(const Matrix& offsets, int64_t s) {
  return {*offsets.i32(s), *offsets.i32(s + 1)};
}

// How many sequences from the first on have offsets that do not fall and stay in 0..rows. One
// broken offset ends the list, so that no two sequences that are worked on share a row.
inline int64_t sound_sequences(const Matrix& offsets, int64_t sequences, int64_t rows) {
  if (*offsets.i32(0) < 0) return 0;
  for (int64_t s = 0; s < sequences; s++) {
    const Rows r = rows_of(offsets, s);
    if (r.end < r.begin || r.end > rows) return s;
  }
  return sequences;
}

// A sequence of the paged cache in one step: row rows.begin + j has position first + j, and
// position t lies in cache row pages[t / page_size] * page_size + t % page_size.
struct PagedSequence {
  Rows rows;
  int64_t first, length;
  const int32_t* pages;
  int32_t page_size;
  int64_t cache_row(int64_t t) const {
    return int64_t{pages[t / page_size]} * page_size + t % page_size;
  }
};

// Reads sequence s of the paged op a. False: no row of it may be worked on, as it is idle or broken
// (then the fault is noted). The pages of all its positions are checked, or of this step's alone.
template <class Args>
bool paged_sequence(const Args& a, Worker& w, int64_t s, bool all_pages, PagedSequence* out) {
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

}  // namespace l3v::cpu
#endif
