// rotate.cuh: the rotary embedding of one row by one block, of rope and of what is fused with it.
#ifndef L3V_CUDA_ROTATE_CUH
#define L3V_CUDA_ROTATE_CUH

#include "element.cuh"
#include "ops.h"

namespace l3v::cuda {

struct Turns {
  float cosine[kMaxHeadDim / 2], sine[kMaxHeadDim / 2];
};

// All threads of the block; what they wrote is seen by all behind it. A row with a position below
// zero stays as it is, and is a fault.
template <class T>
__device__ void rotate_row(const RopeArgs& a, int64_t row, Turns& turns, unsigned long long* fault) {
  const int32_t half = a.head_dim / 2;
  const int32_t position = *a.positions.i32(row);
  if (position < 0 && threadIdx.x == 0) note_fault(fault, row, position);
  if (static_cast<int32_t>(threadIdx.x) < half) {
    // One product, rounded to float; cosf and sinf reduce large arguments in full, as the host's do.
    const float angle = static_cast<float>(position) * a.frequencies.f32()[threadIdx.x];
    turns.cosine[threadIdx.x] = cosf(angle);
    turns.sine[threadIdx.x] = sinf(angle);
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; position >= 0 && i < static_cast<int64_t>(a.heads) * half; i += kThreads) {
    const int64_t head = i / half, j = i % half;
    const float c = turns.cosine[j], s = turns.sine[j];
    T* low = row_of<T>(a.x, row) + head * a.head_dim + j;
    const float x = widen(low[0]), y = widen(low[half]);
    low[0] = narrow<T>(x * c - y * s);
    low[half] = narrow<T>(y * c + x * s);
  }
  __syncthreads();
}
static_assert(kMaxHeadDim / 2 <= kThreads, "a thread has one angle");

}  // namespace l3v::cuda
#endif
