// layer_norm.cu: out = (x - mean) / sqrt(var + eps) * weight + bias, row by row (Ba et al. 2016,
// arXiv:1607.06450). Two passes of sums: the variance is about the mean. out is float32 or bfloat16.
// Grid: one block a row. Shared: a double a warp. Bound by memory: x is read from it once.
#include "ops.h"
#include "row_norm.cuh"

namespace l3v::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) layer_norm_kernel(LayerNormArgs a, NormRow r) {
  L3V_SHARED(NormShared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    r.x = a.x.f32(row);
    const double cols = static_cast<double>(a.cols);
    const double mean = sum_row(r, s, [](double x) { return x; }) / cols;
    const double var = sum_row(r, s, [=](double x) { return (x - mean) * (x - mean); }) / cols;
    const double scale = 1 / sqrt(var + a.eps);
    write_row(r, row_of<T>(a.out, row), a.weight.f32(), a.bias.f32(),
              [=](double x) { return static_cast<float>((x - mean) * scale); });
  }
}

}  // namespace

void layer_norm_cuda(const LayerNormArgs& a, const Queue& q) {
  const NormRow r = norm_row(a, in_fours(a.weight, 1, a.cols) && in_fours(a.bias, 1, a.cols));
  const auto layer_norm_kernel = a.out.dtype == L3V_F32 ? cuda::layer_norm_kernel<float> : cuda::layer_norm_kernel<Bfloat16>;
  L3V_LAUNCH(layer_norm_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(NormShared), q.stream, a, r);
}

}  // namespace l3v::cuda
