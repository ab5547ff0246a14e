// penalize.cu: lowers the scores of tokens that the text has already, by the rule in llama3v.h. Grid:
// one block a row.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) penalize_kernel(PenalizeArgs a, unsigned long long* fault) {
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const float* setting = a.settings.f32(row);
    const float repetition = setting[0], presence = setting[1], frequency = setting[2];
    if (presence == 0 && frequency == 0 && (repetition == 1 || repetition == 0)) continue;
    const int wrong = !isfinite(repetition) || repetition <= 0 ? 0 : !isfinite(presence) ? 1 : !isfinite(frequency) ? 2 : -1;
    if (wrong >= 0) {
      note_fault(fault, row, wrong);
      continue;
    }
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
      const int32_t count = a.counts.i32(row)[c];
      const bool prompted = a.prompt && a.prompt.u8(row)[c] != 0;
      if (count <= 0 && !prompted) continue;
      float x = a.x.f32(row)[c];
      x = x < 0 ? x * repetition : x / repetition;
      if (count > 0) x -= presence + frequency * static_cast<float>(count);
      a.x.f32(row)[c] = x;
    }
  }
}

}  // namespace

void penalize_cuda(const PenalizeArgs& a, const Queue& q) {
  L3V_LAUNCH(penalize_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, a, q.faults);
}

}  // namespace l3v::cuda
