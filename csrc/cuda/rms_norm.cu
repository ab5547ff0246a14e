// rms_norm.cu: out = x / sqrt(mean(x^2) + eps) * weight, row by row (Zhang & Sennrich 2019,
// arXiv:1910.07467). out is float32 or bfloat16.
// Grid: one block a row. Shared: a double a warp. Bound by memory: x is read from it once.
#include "ops.h"
#include "row_norm.cuh"

namespace l3v::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormArgs a, NormRow r) {
  L3V_SHARED(NormShared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    r.x = a.x.f32(row);
    const double mean = sum_row(r, s, [](double x) { return x * x; }) / static_cast<double>(a.cols);
    const double scale = 1 / sqrt(mean + a.eps);
    write_row(r, row_of<T>(a.out, row), a.weight.f32(), nullptr, [=](double x) { return static_cast<float>(x * scale); });
  }
}

}  // namespace

void rms_norm_cuda(const RmsNormArgs& a, const Queue& q) {
  const NormRow r = norm_row(a, in_fours(a.weight, 1, a.cols));
  const auto rms_norm_kernel = a.out.dtype == L3V_F32 ? cuda::rms_norm_kernel<float> : cuda::rms_norm_kernel<Bfloat16>;
  L3V_LAUNCH(rms_norm_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(NormShared), q.stream, a, r);
}

}  // namespace l3v::cuda
