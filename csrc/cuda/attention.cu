// attention.cu: bidirectional attention, every query of a sequence against every key of it (Vaswani
// et al. 2017, arXiv:1706.03762, section 3.2.1; grouped heads: Ainslie et al. 2023,
// arXiv:2305.13245). Grid: one block a query row and head; attend.cuh has what it does.
#include "attend.cuh"
#include "ragged.cuh"

namespace l3v::cuda {
namespace {

struct MaskedKeys {
  Matrix mask;
  int64_t begin;
  __device__ int64_t row_of(int64_t i) const { return !mask || *mask.u8(begin + i) != 0 ? begin + i : -1; }
};

__global__ void __launch_bounds__(kThreads) attention_kernel(AttentionArgs a, unsigned long long* fault) {
  L3V_SHARED(AttendShared, s);
  const int64_t head = blockIdx.y;
  for (int64_t row = blockIdx.x; row < a.q_rows; row += gridDim.x) {
    if (threadIdx.x == 0) {
      const int64_t q = sound_sequences(a.q_offsets, a.sequences, a.q_rows);
      const int64_t k = sound_sequences(a.k_offsets, a.sequences, a.k_rows), sound = q < k ? q : k;
      if (sound < a.sequences) note_fault(fault, sound, *(q <= k ? a.q_offsets : a.k_offsets).i32(sound + 1));
      s.sequence = sequence_of(a.q_offsets, sound, row);
    }
    __syncthreads();
    const int64_t sequence = s.sequence;
    __syncthreads();
    if (sequence < 0) continue;
    const int64_t begin = *a.k_offsets.i32(sequence), count = *a.k_offsets.i32(sequence + 1) - begin;
    const int64_t column = head * a.head_dim, kv_column = head / (a.heads / a.kv_heads) * a.head_dim;
    attend(a.q.f32(row) + column, a.k, a.v, kv_column, a.head_dim, a.scale, MaskedKeys{a.key_mask, begin}, count,
           a.out.f32(row) + column, s);
  }
}

}  // namespace

void attention_cuda(const AttentionArgs& a, const Queue& q) {
  const dim3 grid(blocks_for(a.q_rows).x, static_cast<unsigned>(a.heads));
  L3V_LAUNCH(attention_kernel, grid, dim3(kThreads), sizeof(AttendShared), q.stream, a, q.faults);
}

}  // namespace l3v::cuda
