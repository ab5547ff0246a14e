// embedding.cu: out[i] = table row ids[i], widened. Grid: one block a row.
#include "ops.h"
#include "weight.cuh"

namespace l3v::cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
embedding_kernel(EmbeddingArgs a, WeightRows w, unsigned long long* fault) {
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const int32_t id = *a.ids.i32(row);
    if (id == -1) continue;  // something else fills this row
    const bool good = id >= 0 && id < w.rows;
    if (!good && threadIdx.x == 0) note_fault(fault, row, id);
    for (int64_t k = threadIdx.x; k < w.cols; k += kThreads) a.out.f32(row)[k] = good ? weight_at(w, id, k) : 0.0f;
  }
}

}  // namespace

void embedding_cuda(const EmbeddingArgs& a, const Queue& q) {
  L3V_LAUNCH(embedding_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, a, rows_of(a.weight), q.faults);
}

}  // namespace l3v::cuda
