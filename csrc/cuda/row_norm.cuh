// row_norm.cuh: what layer_norm and rms_norm share: a block has a row and walks it in fours, some
// times for sums and once for the output. The second walk reads from cache: a row of 8192 is 32 KiB.
// Sums in double, as a square of a large value is beyond float32. out may be x: a thread writes only
// what it alone has read.
#ifndef L3V_CUDA_ROW_NORM_CUH
#define L3V_CUDA_ROW_NORM_CUH

#include "fours.cuh"

namespace l3v::cuda {

struct NormShared {
  double sums[kThreads / 32];
};

struct NormRow {
  const float* x;
  int64_t cols;
  bool x_whole, out_whole, weights_whole;  // in fours
};

// The sum of f(value) over the row, for every thread of the block.
template <class F>
__device__ double sum_row(const NormRow& r, NormShared& s, F f) {
  double sum = 0;
  for (int64_t c = threadIdx.x * kFour; c < r.cols; c += kThreads * kFour) {
    const int n = four_of(c, r.cols);
    float v[kFour];
    load_four(r.x, c, n, r.x_whole, v);
    for (int i = 0; i < kFour; i++)
      if (i < n) sum += f(static_cast<double>(v[i]));
  }
  return block_reduce(sum, s.sums, Sum());
}

// out = f(value) * weight + bias; no bias is zeros that are not added.
template <class T, class F>
__device__ void write_row(const NormRow& r, T* out, const float* weight, const float* bias, F f) {
  for (int64_t c = threadIdx.x * kFour; c < r.cols; c += kThreads * kFour) {
    const int n = four_of(c, r.cols);
    float v[kFour], w[kFour], b[kFour];
    load_four(r.x, c, n, r.x_whole, v);
    load_four(weight, c, n, r.weights_whole, w);
    if (bias != nullptr) load_four(bias, c, n, r.weights_whole, b);
    for (int i = 0; i < kFour; i++) {
      v[i] = f(static_cast<double>(v[i])) * w[i];
      if (bias != nullptr) v[i] += b[i];
    }
    store_four(out, c, n, r.out_whole, v);
  }
}

template <class Args>
NormRow norm_row(const Args& a, bool weights_whole) {
  return {nullptr, a.cols, in_fours(a.x, a.rows, a.cols), in_fours(a.out, a.rows, a.cols), weights_whole};
}

}  // namespace l3v::cuda
#endif
