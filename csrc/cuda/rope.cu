// rope.cu: rotary embedding (Su et al. 2021, arXiv:2104.09864) on pairs (j, j + head_dim/2):
//   a = position * frequency[j]      one product, rounded to float
//   x_j'       = x_j cos a - x_{j+d/2} sin a
//   x_{j+d/2}' = x_{j+d/2} cos a + x_j sin a
// Grid: one block a row. sincosf reduces large arguments in full, as the host's functions do.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) rope_kernel(RopeArgs a, unsigned long long* fault) {
  const int32_t half = a.head_dim / 2;
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const int32_t position = *a.positions.i32(row);
    if (position < 0) {
      if (threadIdx.x == 0) note_fault(fault, row, position);
      continue;
    }
    for (int64_t i = threadIdx.x; i < static_cast<int64_t>(a.heads) * half; i += kThreads) {
      const int64_t head = i / half, j = i % half;
      const float angle = static_cast<float>(position) * a.frequencies.f32()[j];
      const float c = cosf(angle), s = sinf(angle);
      float* low = a.x.f32(row) + head * a.head_dim + j;
      const float x = low[0], y = low[half];
      low[0] = x * c - y * s;
      low[half] = y * c + x * s;
    }
  }
}

}  // namespace

void rope_cuda(const RopeArgs& a, const Queue& q) {
  L3V_LAUNCH(rope_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, a, q.faults);
}

}  // namespace l3v::cuda
