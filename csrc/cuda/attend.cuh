// attend.cuh: one query against its keys, in the plain form:
//   out = softmax(scale q k^T) v
// Keys are cut into chunks (chunks.h); within one the softmax is kept up to date over blocks of
// kThreads keys (Milakov & Gimelshein 2018, arXiv:1805.02867), and the chunks' results are folded in
// order. So a chunk may as well be another block's work, with the same bits.
//
// A block of threads takes one query row and head. A thread has one key of kThreads, then one column
// of the output. k and v of either type; scores in float32, sums of probabilities and values in
// float64, which keeps long sums at the float32 bound. Any head size up to kMaxHeadDim.
#ifndef L3V_CUDA_ATTEND_CUH
#define L3V_CUDA_ATTEND_CUH

#include "chunks.h"
#include "element.cuh"
#include "ops.h"

namespace l3v::cuda {

constexpr int64_t kPlainChunk = kThreads;  // keys of the first chunks

struct AttendShared {
  float q[kMaxHeadDim];
  float p[kThreads];
  int64_t rows[kThreads];
  float tops[kThreads / 32];
  double sums[kThreads / 32];
  int64_t sequence, keys;  // of the row, found by the first thread; keys 0: none, sequence -1: leave it
};
static_assert(kThreads == kMaxHeadDim, "a thread has one column of the output");

// What some keys give: the highest score, the sum of exp(score - top), and the same sum of values of
// the thread's column.
struct Attended {
  float top = -INFINITY;
  double sum = 0, acc = 0;
};

__device__ inline Attended fold(const Attended& all, const Attended& part) {
  const float top = Max()(all.top, part.top);
  const double keep = all.top == -INFINITY ? 0.0 : static_cast<double>(expf(all.top - top));
  const double add = part.top == -INFINITY ? 0.0 : static_cast<double>(expf(part.top - top));
  return {top, all.sum * keep + part.sum * add, all.acc * keep + part.acc * add};
}

// A chain of products in the order of the columns; by 16 bytes where the rows are aligned to them.
template <class T>
__device__ float dot(const float* q, const T* key, int32_t head_dim, bool aligned) {
  constexpr int32_t kTogether = 16 / sizeof(T);
  float sum = 0;
  int32_t d = 0;
  if (aligned) {
#pragma unroll 4
    for (; d + kTogether <= head_dim; d += kTogether) {
      const Bytes16 bytes = *reinterpret_cast<const Bytes16*>(key + d);
      T part[kTogether];
      memcpy(part, &bytes, sizeof part);
#pragma unroll
      for (int32_t i = 0; i < kTogether; i++) sum = fmaf(q[d + i], widen(part[i]), sum);
    }
  }
  for (; d < head_dim; d++) sum = fmaf(q[d], widen(key[d]), sum);
  return sum;
}

// Of one query and head, whose part of q is in s.q.
template <class T>
struct Query {
  Matrix k, v;
  int64_t column;  // of k and v
  int32_t head_dim;
  float scale;
  bool aligned;  // dot may read k by 16 bytes
};

// Keys begin to end - 1. keys.row_of(i): the row of k and v that key i lies in, or -1 where it counts
// for no one.
template <class T, class Keys>
__device__ Attended attend(const Query<T>& query, const Keys& keys, int64_t begin, int64_t end, AttendShared& s) {
  Attended a;
  for (int64_t first = begin; first < end; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const int64_t row = i < end ? keys.row_of(i) : -1;
    float score = -INFINITY;
    if (row >= 0)
      score = query.scale * dot(s.q, row_of<const T>(query.k, row) + query.column, query.head_dim, query.aligned);
    const float top = Max()(block_reduce(score, s.tops, Max()), a.top);
    // A block of masked keys, or of scores that are NaN, leaves the top where it is.
    const float p = row < 0 ? 0.0f : top == -INFINITY ? NAN : expf(score - top);
    s.p[threadIdx.x] = p;
    s.rows[threadIdx.x] = row;
    const double shrink = a.top == -INFINITY ? 0.0 : static_cast<double>(expf(a.top - top));
    a.sum = a.sum * shrink + block_reduce(static_cast<double>(p), s.sums, Sum());
    a.top = top;
    if (static_cast<int32_t>(threadIdx.x) < query.head_dim) {
      a.acc *= shrink;
      const int64_t here = end - first < kThreads ? end - first : kThreads;
#pragma unroll 4
      for (int64_t j = 0; j < here; j++)
        if (s.rows[j] >= 0)
          a.acc += static_cast<double>(s.p[j]) * widen(row_of<const T>(query.v, s.rows[j])[query.column + threadIdx.x]);
    }
    __syncthreads();
  }
  return a;
}

// Keys 0 to count - 1, chunk by chunk, and the result at a row and column of out.
template <class T, class Keys>
__device__ void attend_all(const T* q, const Query<T>& query, const Keys& keys, int64_t count, const Matrix& out,
                           int64_t row, int64_t column, AttendShared& s) {
  const bool mine = static_cast<int32_t>(threadIdx.x) < query.head_dim;
  if (mine) s.q[threadIdx.x] = widen(q[threadIdx.x]);
  __syncthreads();
  Attended all;
  for (int64_t chunk = 0; chunk_begin(chunk, kPlainChunk) < count; chunk++) {
    const int64_t end = chunk_begin(chunk + 1, kPlainChunk);
    all = fold(all, attend(query, keys, chunk_begin(chunk, kPlainChunk), end < count ? end : count, s));
  }
  if (mine) store(out, row, column + threadIdx.x, all.sum == 0 ? 0.0f : static_cast<float>(all.acc / all.sum));
  __syncthreads();  // q is free again
}

}  // namespace l3v::cuda
#endif
