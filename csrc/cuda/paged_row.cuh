// paged_row.cuh: a row of the step into the paged cache, of cache_append and of what is fused with it.
#ifndef L3V_CUDA_PAGED_ROW_CUH
#define L3V_CUDA_PAGED_ROW_CUH

#include "element.cuh"
#include "ragged.cuh"

namespace l3v::cuda {

// Warp. The cache row of a row of the step, -1 when it goes nowhere; notes why where that is a fault.
__device__ inline int64_t place_of(const CacheAppendArgs& a, int64_t row, unsigned long long* faults) {
  const Owner owner = owner_of(a.q_offsets, a.sequences, a.rows, row);
  if (owner.sound < a.sequences && threadIdx.x % 32 == 0)
    note_fault(faults + kFaultOffsets, owner.sound, *a.q_offsets.i32(owner.sound + 1));
  PagedSequence seq;
  if (owner.sequence < 0 || !paged_sequence(a, owner.sequence, false, faults, &seq)) return -1;
  return cache_row(a, owner.sequence, seq.first + row - seq.begin);
}

// The block's threads copy a row.
template <class From, class To>
__device__ void put_row(const From* from, To* to, int64_t cols, bool aligned) {
  int64_t done = 0;
  if (sizeof(From) == sizeof(To) && aligned) {
    constexpr int64_t kTogether = 16 / sizeof(To);
    done = cols / kTogether * kTogether;
    for (int64_t c = threadIdx.x * kTogether; c < done; c += kThreads * kTogether)
      *reinterpret_cast<Bytes16*>(to + c) = *reinterpret_cast<const Bytes16*>(from + c);
  }
  for (int64_t c = done + threadIdx.x; c < cols; c += kThreads) to[c] = narrow<To>(widen(from[c]));
}

inline bool copies_together(const CacheAppendArgs& a) {
  return aligned_rows(a.k) && aligned_rows(a.v) && aligned_rows(a.k_cache) && aligned_rows(a.v_cache);
}

}  // namespace l3v::cuda
#endif
