// advance.cu: ends a decode step: the sampled ids become the next step's input, and positions and
// lengths grow by one, for each sequence that is not idle. Without lengths none is. Grid: one block.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) advance_kernel(AdvanceArgs a) {
  for (int64_t s = threadIdx.x; s < a.sequences; s += kThreads) {
    if (a.lengths && *a.lengths.i32(s) <= 0) continue;
    if (a.ids) *a.ids.i32(s) = *a.next.i32(s);
    if (a.positions) ++*a.positions.i32(s);
    if (a.lengths) ++*a.lengths.i32(s);
  }
}

}  // namespace

void advance_cuda(const AdvanceArgs& a, const Queue& q) {
  L3V_LAUNCH(advance_kernel, dim3(1), dim3(kThreads), 0, q.stream, a);
}

}  // namespace l3v::cuda
