// paged_attention.cu: causal attention over the paged cache (Kwon et al. 2023, arXiv:2309.06180):
// the row at position t sees positions 0..t of its sequence. Grid: one block a query row and head;
// attend.cuh has what it does.
#include "attend.cuh"
#include "ragged.cuh"

namespace l3v::cuda {
namespace {

struct PagedKeys {
  PagedAttentionArgs a;
  int64_t sequence;
  __device__ int64_t row_of(int64_t i) const { return cache_row(a, sequence, i); }
};

__global__ void __launch_bounds__(kThreads) paged_attention_kernel(PagedAttentionArgs a, unsigned long long* faults) {
  L3V_SHARED(AttendShared, s);
  const int64_t head = blockIdx.y;
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    if (threadIdx.x == 0) {
      const int64_t sound = sound_sequences(a.q_offsets, a.sequences, a.rows);
      if (sound < a.sequences) note_fault(faults + kFaultOffsets, sound, *a.q_offsets.i32(sound + 1));
      s.sequence = sequence_of(a.q_offsets, sound, row);
      s.keys = 0;
      PagedSequence seq;
      // The row of an idle or broken sequence sees nothing, and becomes zeros.
      if (s.sequence >= 0 && paged_sequence(a, s.sequence, true, faults, &seq)) s.keys = seq.first + row - seq.begin + 1;
    }
    __syncthreads();
    const int64_t sequence = s.sequence, keys = s.keys;
    __syncthreads();
    if (sequence < 0) continue;
    const int64_t column = head * a.head_dim, kv_column = head / (a.heads / a.kv_heads) * a.head_dim;
    attend(a.q.f32(row) + column, a.k_cache, a.v_cache, kv_column, a.head_dim, a.scale, PagedKeys{a, sequence}, keys,
           a.out.f32(row) + column, s);
  }
}

}  // namespace

void paged_attention_cuda(const PagedAttentionArgs& a, const Queue& q) {
  const dim3 grid(blocks_for(a.rows).x, static_cast<unsigned>(a.heads));
  L3V_LAUNCH(paged_attention_kernel, grid, dim3(kThreads), sizeof(AttendShared), q.stream, a, q.faults);
}

}  // namespace l3v::cuda
