// swiglu.cu: out = silu(gate) * up (Shazeer 2020, arXiv:2002.05202). Each view is float32 or bfloat16;
// the value between is float32.
// Grid: a block for 1024 columns of a row. Bound by memory.
#include "activation.cuh"
#include "fours.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

// gate and up are of one type: they are halves of one product.
template <class T, class To>
__global__ void __launch_bounds__(kThreads) swiglu_kernel(SwigluArgs a, bool whole) {
  // out may be gate or up: a thread writes only what it alone has read.
  each_four(a.rows, a.cols, [&](int64_t row, int64_t c, int n) {
    float gate[kFour], up[kFour];
    load_four(row_of<const T>(a.gate, row), c, n, whole, gate);
    load_four(row_of<const T>(a.up, row), c, n, whole, up);
    for (int i = 0; i < kFour; i++) gate[i] = silu(gate[i]) * up[i];
    store_four(row_of<To>(a.out, row), c, n, whole, gate);
  });
}

}  // namespace

void swiglu_cuda(const SwigluArgs& a, const Queue& q) {
  const bool whole = in_fours(a.gate, a.rows, a.cols) && in_fours(a.up, a.rows, a.cols) && in_fours(a.out, a.rows, a.cols);
  const bool from_float = a.gate.dtype == L3V_F32, to_float = a.out.dtype == L3V_F32;
  const auto swiglu_kernel = from_float ? to_float ? cuda::swiglu_kernel<float, float> : cuda::swiglu_kernel<float, Bfloat16>
                                        : to_float ? cuda::swiglu_kernel<Bfloat16, float> : cuda::swiglu_kernel<Bfloat16, Bfloat16>;
  L3V_LAUNCH(swiglu_kernel, blocks_of_fours(a.rows, a.cols), dim3(kThreads), 0, q.stream, a, whole);
}

}  // namespace l3v::cuda
