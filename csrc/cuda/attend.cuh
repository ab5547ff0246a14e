// attend.cuh: one query against its keys, in blocks of kThreads keys counted from the sequence's
// first, with the softmax kept up to date block by block (Milakov & Gimelshein 2018,
// arXiv:1805.02867):
//   out = softmax(scale q k^T) v
// A block of threads takes one query row and head. A thread has one key of a block, then up to
// kMaxHeadDim / kThreads columns of the output. The same bits whatever else the step holds.
#ifndef L3V_CUDA_ATTEND_CUH
#define L3V_CUDA_ATTEND_CUH

#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {

struct AttendShared {
  float q[kMaxHeadDim];
  float p[kThreads];
  int64_t rows[kThreads];
  float tops[kThreads / 32];
  double sums[kThreads / 32];
  int64_t sequence, keys;  // of the row, found by the first thread; keys 0: none, sequence -1: leave it
};
static_assert(kThreads == kMaxHeadDim, "a thread has one column of the output");

// Keys: row_of(i), the row of k and v that key i lies in, or -1 where it counts for no one.
template <class Keys>
__device__ void attend(const float* q, const Matrix& k, const Matrix& v, int64_t column, int32_t head_dim, float scale,
                       const Keys& keys, int64_t count, float* out, AttendShared& s) {
  if (static_cast<int32_t>(threadIdx.x) < head_dim) s.q[threadIdx.x] = q[threadIdx.x];
  float top = -INFINITY;
  double sum = 0, acc = 0;
  __syncthreads();
  for (int64_t first = 0; first < count; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const int64_t row = i < count ? keys.row_of(i) : -1;
    float score = -INFINITY;
    if (row >= 0) {
      const float* key = k.f32(row) + column;
      float dot = 0;
      for (int32_t d = 0; d < head_dim; d++) dot = fmaf(s.q[d], key[d], dot);
      score = scale * dot;
    }
    const float new_top = Max()(block_reduce(score, s.tops, Max()), top);
    // A block of masked keys, or of scores that are NaN, leaves the top where it is.
    const float p = row < 0 ? 0.0f : new_top == -INFINITY ? NAN : expf(score - new_top);
    s.p[threadIdx.x] = p;
    s.rows[threadIdx.x] = row;
    const double shrink = top == -INFINITY ? 0.0 : static_cast<double>(expf(top - new_top));
    sum = sum * shrink + block_reduce(static_cast<double>(p), s.sums, Sum());
    top = new_top;
    if (static_cast<int32_t>(threadIdx.x) < head_dim) {
      acc *= shrink;
      const int64_t here = count - first < kThreads ? count - first : kThreads;
      for (int64_t j = 0; j < here; j++)
        if (s.rows[j] >= 0) acc += static_cast<double>(s.p[j]) * v.f32(s.rows[j])[column + threadIdx.x];
    }
    __syncthreads();
  }
  if (static_cast<int32_t>(threadIdx.x) < head_dim) out[threadIdx.x] = sum == 0 ? 0.0f : static_cast<float>(acc / sum);
  __syncthreads();  // q is free again
}

}  // namespace l3v::cuda
#endif
