// activation.cu: out = activation(x), element by element. x and out are float32 or bfloat16.
// Grid: a block for 1024 columns of a row. Bound by memory.
#include "activation.cuh"
#include "fours.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

template <class T, class To>
__global__ void __launch_bounds__(kThreads) activation_kernel(ActivationArgs a, bool whole) {
  // out may be x: a thread writes only what it alone has read.
  each_four(a.rows, a.cols, [&](int64_t row, int64_t c, int n) {
    float v[kFour];
    load_four(row_of<const T>(a.x, row), c, n, whole, v);
    for (int i = 0; i < kFour; i++) v[i] = activate(v[i], a.activation);
    store_four(row_of<To>(a.out, row), c, n, whole, v);
  });
}

}  // namespace

void activation_cuda(const ActivationArgs& a, const Queue& q) {
  const bool whole = in_fours(a.x, a.rows, a.cols) && in_fours(a.out, a.rows, a.cols);
  const bool from_float = a.x.dtype == L3V_F32, to_float = a.out.dtype == L3V_F32;
  const auto activation_kernel =
      from_float ? to_float ? cuda::activation_kernel<float, float> : cuda::activation_kernel<float, Bfloat16>
                 : to_float ? cuda::activation_kernel<Bfloat16, float> : cuda::activation_kernel<Bfloat16, Bfloat16>;
  L3V_LAUNCH(activation_kernel, blocks_of_fours(a.rows, a.cols), dim3(kThreads), 0, q.stream, a, whole);
}

}  // namespace l3v::cuda
