// embedding.cu: out[i] = table row ids[i], widened. Grid: one block a row; a thread takes 16 bytes of
// quants at a time. Bound by memory.
#include "dequantize.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

// wide: rows of out begin at multiples of 16 bytes.
template <int kType>
__global__ void __launch_bounds__(kThreads)
embedding_kernel(EmbeddingArgs a, WeightRows w, bool wide, unsigned long long* fault) {
  constexpr int kElements = Chunk<kType>::kElements;
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const int32_t id = *a.ids.i32(row);
    if (id == -1) continue;  // something else fills this row
    const bool good = id >= 0 && id < w.rows;
    if (!good && threadIdx.x == 0) note_fault(fault, row, id);
    float* out = a.out.f32(row);
    for (int64_t c = threadIdx.x; c * kElements < w.cols; c += kThreads) {
      float v[kElements] = {};
      if (good) {
        Chunk<kType> chunk;
        chunk.load(w, w.data + id * w.row_bytes, c);
        chunk.values(v);
      }
      const int64_t first = c * kElements;
      if (wide && first + kElements <= w.cols) {
#pragma unroll
        for (int i = 0; i < kElements; i += 4)
          *reinterpret_cast<Floats4*>(out + first + i) = {{v[i], v[i + 1], v[i + 2], v[i + 3]}};
      } else {
#pragma unroll
        for (int i = 0; i < kElements; i++)
          if (first + i < w.cols) out[first + i] = v[i];
      }
    }
  }
}

template <int kType>
void launch(const EmbeddingArgs& a, const WeightRows& w, const Queue& q) {
  const auto embedding_kernel = cuda::embedding_kernel<kType>;
  L3V_LAUNCH(embedding_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, a, w, aligned_rows(a.out), q.faults);
}

}  // namespace

void embedding_cuda(const EmbeddingArgs& a, const Queue& q) {
  const WeightRows w = rows_of(a.weight);
  switch (w.dtype) {
    case L3V_F32: return launch<L3V_F32>(a, w, q);
    case L3V_F16: return launch<L3V_F16>(a, w, q);
    case L3V_BF16: return launch<L3V_BF16>(a, w, q);
    case L3V_Q4_0: return launch<L3V_Q4_0>(a, w, q);
    case L3V_Q4_1: return launch<L3V_Q4_1>(a, w, q);
    case L3V_Q5_0: return launch<L3V_Q5_0>(a, w, q);
    case L3V_Q5_1: return launch<L3V_Q5_1>(a, w, q);
    case L3V_Q8_0: return launch<L3V_Q8_0>(a, w, q);
    case L3V_Q2_K: return launch<L3V_Q2_K>(a, w, q);
    case L3V_Q3_K: return launch<L3V_Q3_K>(a, w, q);
    case L3V_Q4_K: return launch<L3V_Q4_K>(a, w, q);
    case L3V_Q5_K: return launch<L3V_Q5_K>(a, w, q);
    case L3V_Q6_K: return launch<L3V_Q6_K>(a, w, q);
    case L3V_IQ4_NL: return launch<L3V_IQ4_NL>(a, w, q);
    default: return launch<L3V_IQ4_XS>(a, w, q);
  }
}

}  // namespace l3v::cuda
