// activation.cu: out = activation(x), element by element. Grid: one block a row.
#include "activation.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) activation_kernel(ActivationArgs a) {
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x)
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads)
      a.out.f32(row)[c] = activate(a.x.f32(row)[c], a.activation);
}

}  // namespace

void activation_cuda(const ActivationArgs& a, const Queue& q) {
  L3V_LAUNCH(activation_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, a);
}

}  // namespace l3v::cuda
