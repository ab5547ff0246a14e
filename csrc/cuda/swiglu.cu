// swiglu.cu: out = silu(gate) * up (Shazeer 2020, arXiv:2002.05202). Grid: one block a row.
#include "activation.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) swiglu_kernel(SwigluArgs a) {
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x)
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads)
      a.out.f32(row)[c] = silu(a.gate.f32(row)[c]) * a.up.f32(row)[c];
}

}  // namespace

void swiglu_cuda(const SwigluArgs& a, const Queue& q) {
  L3V_LAUNCH(swiglu_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, a);
}

}  // namespace l3v::cuda
