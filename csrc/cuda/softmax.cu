// softmax.cu: out = softmax(scale x), row by row. An x of -inf is masked; a row of nothing else
// becomes zeros; a NaN makes its whole row NaN. The sum in double. Grid: one block a row.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

struct Shared {
  float tops[kThreads / 32];
  double sums[kThreads / 32];
};

__global__ void __launch_bounds__(kThreads) softmax_kernel(SoftmaxArgs a) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const float* x = a.x.f32(row);
    float* out = a.out.f32(row);
    float top = -INFINITY, any = 0;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
      if (x[c] == -INFINITY) continue;
      any = 1;
      if (x[c] * a.scale > top) top = x[c] * a.scale;
    }
    top = block_reduce(top, s.tops, Max());
    any = block_reduce(any, s.tops, Max());
    // out may be x: a thread writes only what it alone has read.
    double sum = 0;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
      out[c] = x[c] == -INFINITY ? 0.0f : expf(x[c] * a.scale - top);
      sum += out[c];
    }
    sum = block_reduce(sum, s.sums, Sum());
    if (any == 0) continue;  // all zeros by now
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) out[c] = static_cast<float>(out[c] / sum);
  }
}

}  // namespace

void softmax_cuda(const SoftmaxArgs& a, const Queue& q) {
  L3V_LAUNCH(softmax_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, a);
}

}  // namespace l3v::cuda
