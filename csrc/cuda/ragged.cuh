// ragged.cuh: sequences of a step by their offsets, and of a paged cache by their page tables. All
// of it is device data that only the running kernel can check; every block checks it alike.
#ifndef L3V_CUDA_RAGGED_CUH
#define L3V_CUDA_RAGGED_CUH

#include "launch.cuh"

namespace l3v::cuda {

// How many sequences from the first on have offsets that do not fall and stay in 0..rows.
__device__ inline int64_t sound_sequences(const Matrix& offsets, int64_t sequences, int64_t rows) {
  if (*offsets.i32(0) < 0) return 0;
  for (int64_t s = 0; s < sequences; s++) {
    const int32_t begin = *offsets.i32(s), end = *offsets.i32(s + 1);
    if (end < begin || end > rows) return s;
  }
  return sequences;
}

// The sequence among the sound ones that owns a row, -1 when none does.
__device__ inline int64_t sequence_of(const Matrix& offsets, int64_t sound, int64_t row) {
  if (sound == 0 || row < *offsets.i32(0)) return -1;
  for (int64_t s = 0; s < sound; s++)
    if (row < *offsets.i32(s + 1)) return s;
  return -1;
}

// Kinds of the paged ops' faults, as words behind Queue::faults.
enum PagedFault { kFaultOffsets, kFaultPosition, kFaultPage };

// A sequence of the paged cache in one step: row begin + j has position first + j.
struct PagedSequence {
  int64_t begin, first, length;
};

// Reads sequence s. False: no row of it may be worked on, as it is idle or broken (then the fault is
// noted). The pages of all its positions are checked, or those of this step alone.
template <class Args>
__device__ bool paged_sequence(const Args& a, int64_t s, bool all_pages, unsigned long long* faults, PagedSequence* out) {
  const int64_t begin = *a.q_offsets.i32(s), count = *a.q_offsets.i32(s + 1) - begin;
  const int64_t length = *a.lengths.i32(s), first = length - count;
  *out = {begin, first, length};
  if (length == 0 || count == 0) return false;
  if (first < 0 || length > a.max_pages * a.page_size) {
    note_fault(faults + kFaultPosition, s, first < 0 ? first : length - 1);
    return false;
  }
  for (int64_t p = all_pages ? 0 : first / a.page_size; p <= (length - 1) / a.page_size; p++) {
    const int32_t page = a.page_table.i32(s)[p];
    if (page >= 0 && page < a.pages) continue;
    note_fault(faults + kFaultPage, s, page);
    return false;
  }
  return true;
}

// The cache row of a position.
template <class Args>
__device__ int64_t cache_row(const Args& a, int64_t s, int64_t position) {
  return static_cast<int64_t>(a.page_table.i32(s)[position / a.page_size]) * a.page_size + position % a.page_size;
}

}  // namespace l3v::cuda
#endif
