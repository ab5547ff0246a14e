// paged_attention.cu: causal attention over the paged cache (Kwon et al. 2023, arXiv:2309.06180):
// the row at position t sees positions 0..t of its sequence.
//
// The plain forms take any type and head size: one block a query row and head over all its keys, or,
// where that leaves most of the card idle, one block a chunk of them and a second kernel that folds
// the chunks. Their bits are the same. The forms on tensor cores are those of flash_sm80.cuh,
// split_sm80.cuh and flash_sm90.cuh.
#include "attend.cuh"
#include "flash_sm90.cuh"
#include "ragged.cuh"
#include "split_sm80.cuh"

namespace l3v::cuda {
namespace {

struct PagedKeys {
  PagedAttentionArgs a;
  int64_t sequence;
  __device__ int64_t row_of(int64_t i) const { return cache_row(a, sequence, i); }
};

// Warp: the sequence of a row and how many keys the row sees, into s.
__device__ void find_row(const PagedAttentionArgs& a, int64_t row, unsigned long long* faults, AttendShared& s) {
  const Owner owner = owner_of(a.q_offsets, a.sequences, a.rows, row);
  PagedSequence seq;
  // The row of an idle or broken sequence sees nothing, and becomes zeros.
  const bool sees = owner.sequence >= 0 && paged_sequence(a, owner.sequence, true, faults, &seq);
  if (threadIdx.x != 0) return;
  if (owner.sound < a.sequences) note_fault(faults + kFaultOffsets, owner.sound, *a.q_offsets.i32(owner.sound + 1));
  s.sequence = owner.sequence;
  s.keys = sees ? seq.first + row - seq.begin + 1 : 0;
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2) paged_attention_kernel(PagedAttentionArgs a, bool aligned,
                                                                    unsigned long long* faults) {
  L3V_SHARED(AttendShared, s);
  const int64_t head = blockIdx.y;
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    if (threadIdx.x < 32) find_row(a, row, faults, s);
    __syncthreads();
    const int64_t sequence = s.sequence, keys = s.keys;
    __syncthreads();
    if (sequence < 0) continue;
    const int64_t column = head * a.head_dim, kv_column = head / (a.heads / a.kv_heads) * a.head_dim;
    attend_all(row_of<const T>(a.q, row) + column, Query<T>{a.k_cache, a.v_cache, kv_column, a.head_dim, a.scale, aligned},
               PagedKeys{a, sequence}, keys, a.out, row, column, s);
  }
}

// Chunks of a row's keys. Grid: rows x heads x blocks that share them. partial: [rows][heads][chunks]
// [head_dim + 2].
template <class T>
__global__ void __launch_bounds__(kThreads, 2) paged_chunk_kernel(PagedAttentionArgs a, bool aligned, int64_t chunks,
                                                                double* partial, unsigned long long* faults) {
  L3V_SHARED(AttendShared, s);
  const int64_t head = blockIdx.y, row = blockIdx.x;
  if (threadIdx.x < 32) find_row(a, row, faults, s);
  const bool mine = static_cast<int32_t>(threadIdx.x) < a.head_dim;
  if (mine) s.q[threadIdx.x] = widen(row_of<const T>(a.q, row)[head * a.head_dim + threadIdx.x]);
  __syncthreads();
  const int64_t keys = s.keys, kv_column = head / (a.heads / a.kv_heads) * a.head_dim;
  const Query<T> query{a.k_cache, a.v_cache, kv_column, a.head_dim, a.scale, aligned};
  for (int64_t chunk = blockIdx.z; chunk_begin(chunk, kPlainChunk) < keys; chunk += gridDim.z) {
    const int64_t end = chunk_begin(chunk + 1, kPlainChunk);
    const Attended part = attend(query, PagedKeys{a, s.sequence}, chunk_begin(chunk, kPlainChunk), end < keys ? end : keys, s);
    double* out = partial + ((row * a.heads + head) * chunks + chunk) * (a.head_dim + 2);
    if (mine) out[threadIdx.x] = part.acc;
    if (threadIdx.x == 0) {
      out[a.head_dim] = part.top;
      out[a.head_dim + 1] = part.sum;
    }
  }
}

// Folds a row's chunks. Grid: rows x heads; a thread has a column.
__global__ void __launch_bounds__(kThreads) paged_fold_kernel(PagedAttentionArgs a, int64_t chunks, const double* partial,
                                                               unsigned long long* faults) {
  L3V_SHARED(AttendShared, s);
  const int64_t head = blockIdx.y, row = blockIdx.x;
  if (threadIdx.x < 32) find_row(a, row, faults, s);
  __syncthreads();
  if (s.sequence < 0 || static_cast<int32_t>(threadIdx.x) >= a.head_dim) return;
  const double* part = partial + (row * a.heads + head) * chunks * (a.head_dim + 2);
  Attended all;
  for (int64_t chunk = 0; chunk_begin(chunk, kPlainChunk) < s.keys; chunk++, part += a.head_dim + 2)
    all = fold(all, {static_cast<float>(part[a.head_dim]), part[a.head_dim + 1], part[threadIdx.x]});
  store(a.out, row, head * a.head_dim + threadIdx.x, all.sum == 0 ? 0.0f : static_cast<float>(all.acc / all.sum));
}

// How the op is computed; where keys are split, the bytes of partial results.
struct Choice {
  bool tensor_cores, split, unsplit;
  int64_t chunks, few, scratch;
};

constexpr int64_t kFewQueries = 8;                  // of a sequence, on average, that are split
constexpr int64_t kMostScratch = int64_t{256} << 20;

Choice choose(const PagedAttentionArgs& a, const Card& card) {
  const int64_t positions = a.max_pages * a.page_size;
  const bool fits = flash_head(a.head_dim) && a.heads / a.kv_heads <= kSplitRows && a.q.dtype == L3V_BF16 && aligned_rows(a.q) &&
                    aligned_rows(a.k_cache) && aligned_rows(a.v_cache) && aligned_rows(a.out);
  if (card.forms == Forms::kPlain || !fits) {
    // Another form than plain ones, where rows and heads alone would leave multiprocessors without a block.
    const int64_t chunks = chunks_of(positions, kPlainChunk);
    const int64_t scratch = a.rows * a.heads * chunks * (a.head_dim + 2) * static_cast<int64_t>(sizeof(double));
    const bool split = card.forms != Forms::kPlain && chunks > 1 && a.rows * a.heads < 2 * card.multiprocessors && scratch <= kMostScratch;
    return {false, split, !split, chunks, 0, split ? scratch : 0};
  }
  // Decoding and the like is split for all rows. In a mixture with long prompts the sequences of one row
  // are, which a tile of the unsplit kernel would walk alone. Results too large to keep are not.
  const int64_t chunks = chunks_of(positions, kFlashChunk), slot = a.heads * chunks * (a.head_dim + 2) * static_cast<int64_t>(sizeof(float));
  if (a.rows <= kFewQueries * a.sequences && a.rows * slot <= kMostScratch) return {true, true, false, chunks, 0, a.rows * slot};
  if (a.sequences > 1 && a.sequences * slot <= kMostScratch) return {true, true, true, chunks, 1, a.sequences * slot};
  return {true, false, true, chunks, 0, 0};
}

template <class T>
void plain(const PagedAttentionArgs& a, const Choice& c, const Queue& q) {
  const bool aligned = aligned_rows(a.k_cache) && a.head_dim * sizeof(T) % 16 == 0;
  const unsigned heads = static_cast<unsigned>(a.heads);
  if (!c.split) {
    const auto paged_attention_kernel = cuda::paged_attention_kernel<T>;
    L3V_LAUNCH(paged_attention_kernel, dim3(blocks_for(a.rows).x, heads), dim3(kThreads), sizeof(AttendShared), q.stream, a, aligned, q.faults);
    return;
  }
  const auto paged_chunk_kernel = cuda::paged_chunk_kernel<T>;
  double* partial = reinterpret_cast<double*>(q.scratch);
  const unsigned rows = static_cast<unsigned>(a.rows);
  const dim3 grid(rows, heads, blocks_of_chunks(c.chunks, a.rows * a.heads, q.card));
  L3V_LAUNCH(paged_chunk_kernel, grid, dim3(kThreads), sizeof(AttendShared), q.stream, a, aligned, c.chunks, partial, q.faults);
  L3V_LAUNCH(paged_fold_kernel, dim3(rows, heads), dim3(kThreads), sizeof(AttendShared), q.stream, a, c.chunks, partial, q.faults);
}

template <int D>
void tensor_cores(const PagedAttentionArgs& a, const Choice& c, const Queue& q) {
  const PagedCausal prompt = PagedCausal::of(a, c.few);
  // Batch-invariant contexts take the form whose rows have the bits of split ones.
  if (c.unsplit && q.card.forms == Forms::kSm90 && !q.card.batch_invariant && fits_sm90(prompt)) flash_sm90<D>(prompt, q);
  else if (c.unsplit) flash_sm80<D>(prompt, q);
  if (c.split) split_sm80<D>(PagedCausal::of(a, 0), SplitPlan{reinterpret_cast<float*>(q.scratch), c.chunks, c.few}, q);
}

}  // namespace

int64_t paged_attention_scratch(const PagedAttentionArgs& a, const Card& card) { return choose(a, card).scratch; }

void paged_attention_cuda(const PagedAttentionArgs& a, const Queue& q) {
  const Choice c = choose(a, q.card);
  if (!c.tensor_cores) return a.q.dtype == L3V_F32 ? plain<float>(a, c, q) : plain<Bfloat16>(a, c, q);
  for_flash_head(a.head_dim, [&](auto head) { tensor_cores<decltype(head)::value>(a, c, q); });
}

}  // namespace l3v::cuda
