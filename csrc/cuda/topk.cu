// topk.cu: the k largest of each row, largest first, the lower index first among equals. A row with
// a NaN, or of -inf alone, is a fault: its ids become -1 and its values NaN.
// Grid: one block a row. The row is walked k times, each time for the best behind the one before;
// k is small where it matters (1, for arg-max).
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

// A column and its value as one number: the larger comes first in the answer. Above are the value's
// bits in the order of floats, below the column, counted down. 0: none.
__device__ unsigned long long place_of(float value, int64_t column) {
  return static_cast<unsigned long long>(ordered_bits(value)) << 32 | (UINT32_MAX - static_cast<uint32_t>(column));
}
__device__ int32_t column_of(unsigned long long place) {
  return static_cast<int32_t>(UINT32_MAX - static_cast<uint32_t>(place));
}

struct Greatest {
  __device__ unsigned long long operator()(unsigned long long a, unsigned long long b) const { return a > b ? a : b; }
};
static_assert(kMaxTopk <= kThreads, "a thread has one place of the answer");
struct Shared {
  unsigned long long best[kThreads / 32];
  int32_t columns[kThreads / 32];
};

__global__ void __launch_bounds__(kThreads) topk_kernel(TopkArgs a, unsigned long long* fault) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const float* x = a.x.f32(row);
    int32_t nan = INT32_MAX;
    for (int64_t c = threadIdx.x; c < a.cols && nan == INT32_MAX; c += kThreads)
      if (isnan(x[c])) nan = static_cast<int32_t>(c);
    nan = block_reduce(nan, s.columns, Least());
    unsigned long long last = ~0ull;
    for (int32_t i = 0; i < a.k; i++) {
      unsigned long long mine = 0;
      for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
        const unsigned long long one = place_of(x[c], c);
        if (one < last && one > mine) mine = one;
      }
      last = block_reduce(mine, s.best, Greatest());
      const bool refused = nan != INT32_MAX || (i == 0 && x[column_of(last)] == -INFINITY);
      if (refused) {
        const int32_t j = threadIdx.x;
        if (j < a.k) {
          a.ids.i32(row)[j] = -1;
          if (a.values) a.values.f32(row)[j] = NAN;
        }
        note_fault(fault, row, nan != INT32_MAX ? nan : 0);
        break;
      }
      if (threadIdx.x == 0) {
        a.ids.i32(row)[i] = column_of(last);
        if (a.values) a.values.f32(row)[i] = x[column_of(last)];
      }
    }
  }
}

}  // namespace

void topk_cuda(const TopkArgs& a, const Queue& q) {
  L3V_LAUNCH(topk_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, a, q.faults);
}

}  // namespace l3v::cuda
