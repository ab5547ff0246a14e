// rms_norm.cu: out = x / sqrt(mean(x^2) + eps) * weight, row by row (Zhang & Sennrich 2019,
// arXiv:1910.07467). Sums in double. Grid: one block a row; x is read twice, from cache the second time.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

struct Shared {
  double sums[kThreads / 32];
};

__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormArgs a) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const float* x = a.x.f32(row);
    float* out = a.out.f32(row);
    double squares = 0;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) squares += static_cast<double>(x[c]) * x[c];
    const double scale = 1 / sqrt(block_reduce(squares, s.sums, Sum()) / static_cast<double>(a.cols) + a.eps);
    // out may be x: a thread writes only what it alone has read.
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads)
      out[c] = static_cast<float>(x[c] * scale) * a.weight.f32()[c];
  }
}

}  // namespace

void rms_norm_cuda(const RmsNormArgs& a, const Queue& q) {
  L3V_LAUNCH(rms_norm_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, a);
}

}  // namespace l3v::cuda
