// cache_append.cu: puts the step's keys and values into their places of the paged cache. Grid: one
// block a row; its first thread finds the row's place.
#include "ops.h"
#include "ragged.cuh"

namespace l3v::cuda {
namespace {

struct Shared {
  int64_t to;
};

__device__ int64_t place_of(const CacheAppendArgs& a, int64_t row, unsigned long long* faults) {
  const int64_t sound = sound_sequences(a.q_offsets, a.sequences, a.rows);
  if (sound < a.sequences) note_fault(faults + kFaultOffsets, sound, *a.q_offsets.i32(sound + 1));
  const int64_t s = sequence_of(a.q_offsets, sound, row);
  PagedSequence seq;
  if (s < 0 || !paged_sequence(a, s, false, faults, &seq)) return -1;
  return cache_row(a, s, seq.first + row - seq.begin);
}

__global__ void __launch_bounds__(kThreads) cache_append_kernel(CacheAppendArgs a, unsigned long long* faults) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    if (threadIdx.x == 0) s.to = place_of(a, row, faults);
    __syncthreads();
    const int64_t to = s.to;
    __syncthreads();
    if (to < 0) continue;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
      a.k_cache.f32(to)[c] = a.k.f32(row)[c];
      a.v_cache.f32(to)[c] = a.v.f32(row)[c];
    }
  }
}

}  // namespace

void cache_append_cuda(const CacheAppendArgs& a, const Queue& q) {
  L3V_LAUNCH(cache_append_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, a, q.faults);
}

}  // namespace l3v::cuda
