// attention.cu: bidirectional attention, every query of a sequence against every key of it (Vaswani
// et al. 2017, arXiv:1706.03762, section 3.2.1; grouped heads: Ainslie et al. 2023,
// arXiv:2305.13245). The plain form takes any type and head size: one block a query row and head
// (attend.cuh). The forms on tensor cores are those of flash_sm80.cuh and flash_sm90.cuh.
#include "attend.cuh"
#include "flash_sm90.cuh"
#include "ragged.cuh"

namespace l3v::cuda {
namespace {

struct MaskedKeys {
  Matrix mask;
  int64_t begin;
  __device__ int64_t row_of(int64_t i) const { return !mask || *mask.u8(begin + i) != 0 ? begin + i : -1; }
};

template <class T>
__global__ void __launch_bounds__(kThreads, 2) attention_kernel(AttentionArgs a, bool aligned, unsigned long long* fault) {
  L3V_SHARED(AttendShared, s);
  const int64_t head = blockIdx.y;
  for (int64_t row = blockIdx.x; row < a.q_rows; row += gridDim.x) {
    if (threadIdx.x < 32) {
      const Owner q = owner_of(a.q_offsets, a.sequences, a.q_rows, row);
      const int64_t k = owner_of(a.k_offsets, a.sequences, a.k_rows, -1).sound, sound = q.sound < k ? q.sound : k;
      if (threadIdx.x == 0) {
        if (sound < a.sequences) note_fault(fault, sound, *(q.sound <= k ? a.q_offsets : a.k_offsets).i32(sound + 1));
        s.sequence = q.sequence < sound ? q.sequence : -1;
      }
    }
    __syncthreads();
    const int64_t sequence = s.sequence;
    __syncthreads();
    if (sequence < 0) continue;
    const int64_t begin = *a.k_offsets.i32(sequence), count = *a.k_offsets.i32(sequence + 1) - begin;
    const int64_t column = head * a.head_dim, kv_column = head / (a.heads / a.kv_heads) * a.head_dim;
    attend_all(row_of<const T>(a.q, row) + column, Query<T>{a.k, a.v, kv_column, a.head_dim, a.scale, aligned},
               MaskedKeys{a.key_mask, begin}, count, a.out, row, column, s);
  }
}

// The tensor cores take products of bfloat16, whole pieces of 16 bytes, and the head sizes that models
// have; a tile holds the whole group of heads.
bool fits_tensor_cores(const AttentionArgs& a) {
  return a.q.dtype == L3V_BF16 && flash_head(a.head_dim) && a.heads / a.kv_heads <= kFlashRows && aligned_rows(a.q) &&
         aligned_rows(a.k) && aligned_rows(a.v) && aligned_rows(a.out);
}

template <class T>
void plain(const AttentionArgs& a, const Queue& q) {
  const auto attention_kernel = cuda::attention_kernel<T>;
  const dim3 grid(blocks_for(a.q_rows).x, static_cast<unsigned>(a.heads));
  const bool aligned = aligned_rows(a.k) && a.head_dim * sizeof(T) % 16 == 0;
  L3V_LAUNCH(attention_kernel, grid, dim3(kThreads), sizeof(AttendShared), q.stream, a, aligned, q.faults);
}

}  // namespace

void attention_cuda(const AttentionArgs& a, const Queue& q) {
  if (q.card.forms == Forms::kPlain || !fits_tensor_cores(a))
    return a.q.dtype == L3V_F32 ? plain<float>(a, q) : plain<Bfloat16>(a, q);
  const EveryKey source = EveryKey::of(a);
  for_flash_head(a.head_dim, [&](auto head) {
    constexpr int kHead = decltype(head)::value;
    if (q.card.forms == Forms::kSm90) flash_sm90<kHead>(source, q);
    else flash_sm80<kHead>(source, q);
  });
}

}  // namespace l3v::cuda
