// layer_norm.cu: out = (x - mean) / sqrt(var + eps) * weight + bias, row by row (Ba et al. 2016,
// arXiv:1607.06450). Two passes: the variance is about the mean. Sums in double.
// Grid: one block a row; x is read three times, from cache after the first.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

struct Shared {
  double sums[kThreads / 32];
};

__global__ void __launch_bounds__(kThreads) layer_norm_kernel(LayerNormArgs a) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const float* x = a.x.f32(row);
    float* out = a.out.f32(row);
    double sum = 0;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) sum += x[c];
    const double mean = block_reduce(sum, s.sums, Sum()) / static_cast<double>(a.cols);
    double squares = 0;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) squares += (x[c] - mean) * (x[c] - mean);
    const double scale = 1 / sqrt(block_reduce(squares, s.sums, Sum()) / static_cast<double>(a.cols) + a.eps);
    // out may be x: a thread writes only what it alone has read.
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads)
      out[c] = static_cast<float>((x[c] - mean) * scale) * a.weight.f32()[c] + a.bias.f32()[c];
  }
}

}  // namespace

void layer_norm_cuda(const LayerNormArgs& a, const Queue& q) {
  L3V_LAUNCH(layer_norm_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, a);
}

}  // namespace l3v::cuda
