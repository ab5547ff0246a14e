// log_prob.cu: out[j] = x[ids[j]] - log(sum(exp(x))), row by row; the sum in double about the row's
// largest. Grid: one block a row.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

struct Shared {
  float tops[kThreads / 32];
  double sums[kThreads / 32];
  int32_t columns[kThreads / 32];
};

// faults: of ids, then of values.
__global__ void __launch_bounds__(kThreads) log_prob_kernel(LogProbArgs a, unsigned long long* faults) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const float* x = a.x.f32(row);
    float top = -INFINITY;
    int32_t bad = INT32_MAX;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
      if ((isnan(x[c]) || x[c] == INFINITY) && bad == INT32_MAX) bad = static_cast<int32_t>(c);
      if (x[c] > top) top = x[c];
    }
    top = block_reduce(top, s.tops, Max());
    bad = block_reduce(bad, s.columns, Least());
    if (bad == INT32_MAX && top == -INFINITY) bad = 0;
    double sum = 0;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) sum += exp(static_cast<double>(x[c]) - top);
    sum = block_reduce(sum, s.sums, Sum());
    if (bad != INT32_MAX) note_fault(faults + 1, row, bad);
    for (int32_t j = threadIdx.x; j < a.k; j += kThreads) {
      const int32_t id = a.ids.i32(row)[j];
      if (bad != INT32_MAX) {
        a.out.f32(row)[j] = NAN;
      } else if (id >= 0 && id < a.cols) {
        a.out.f32(row)[j] = static_cast<float>(static_cast<double>(x[id]) - top - log(sum));
      } else if (id != -1) {
        a.out.f32(row)[j] = NAN;
        note_fault(faults, row, id);
      }
    }
  }
}

}  // namespace

void log_prob_cuda(const LogProbArgs& a, const Queue& q) {
  L3V_LAUNCH(log_prob_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, a, q.faults);
}

}  // namespace l3v::cuda
