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

Rows rows_of(const Matrix& offsets, int64_t s);

// How many sequences from the first on have offsets that do not fall and stay in 0..rows. One
// broken offset ends the list, so that no two sequences that are worked on share a row.
int64_t sound_sequences(const Matrix& offsets, int64_t sequences, int64_t rows);

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

// Reads sequence s of a paged op. False: no row of it may be worked on, as it is idle or broken
// (then the fault is noted). The pages of all its positions are checked, or of cache_append those
// of this step alone.
bool paged_sequence(const PagedAttentionArgs& a, Worker& w, int64_t s, PagedSequence* out);
bool paged_sequence(const CacheAppendArgs& a, Worker& w, int64_t s, PagedSequence* out);

}  // namespace l3v::cpu
#endif
