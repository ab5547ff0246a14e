// check_finite.cu: looks for NaN and infinity; the first of a row stands for it. Grid: one block a row.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) check_finite_kernel(CheckFiniteArgs a, unsigned long long* fault) {
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
      if (isfinite(a.x.f32(row)[c])) continue;
      note_fault(fault, row, c);
      break;
    }
  }
}

}  // namespace

void check_finite_cuda(const CheckFiniteArgs& a, const Queue& q) {
  L3V_LAUNCH(check_finite_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, a, q.faults);
}

}  // namespace l3v::cuda
