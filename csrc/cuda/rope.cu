// rope.cu: rotary embedding (Su et al. 2021, arXiv:2104.09864) on pairs (j, j + head_dim/2):
//   a = position * frequency[j]
//   x_j'       = x_j cos a - x_{j+d/2} sin a
//   x_{j+d/2}' = x_{j+d/2} cos a + x_j sin a
// Grid: one block a row. Shared: a row's cosines and sines, computed once for all heads. Bound by
// memory: a row is read and written once.
#include "rotate.cuh"

namespace l3v::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) rope_kernel(RopeArgs a, unsigned long long* fault) {
  L3V_SHARED(Turns, turns);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) rotate_row<T>(a, row, turns, fault);
}

}  // namespace

void rope_cuda(const RopeArgs& a, const Queue& q) {
  const auto rope_kernel = a.x.dtype == L3V_F32 ? cuda::rope_kernel<float> : cuda::rope_kernel<Bfloat16>;
  L3V_LAUNCH(rope_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Turns), q.stream, a, q.faults);
}

}  // namespace l3v::cuda
