// split_sm80.cuh: paged causal attention of few queries a sequence, as a step of decoding has, with the
// keys of a sequence spread over the card (Flash-Decoding, Dao et al. 2023; the fold is the online
// softmax of Milakov & Gimelshein 2018, arXiv:1805.02867):
//   partial(chunk) = softmax and sums of values over the chunk's keys     paged_split_kernel
//   out = the partials folded in the order of the chunks                  paged_combine_kernel
// The chunks are the flash kernel's, and so is every operation on a row, so a row has the same bits
// from either.
//
// paged_split_kernel. Grid: sequences x heads of k x chunks, of which a block takes more where a card is
// full without (tables are often longer than what is in them); 4 warps. Up to 16 rows, the queries of all
// heads of a group, share the keys that are read. Each warp computes all scores, and its quarter of
// the columns of P V: the sequential steps are as short as they can be, and no warp waits for
// another's part. Shared: two stages of k and v and 16 rows of q, 72 KiB at heads of 128, three blocks
// a multiprocessor of an H100 and two of an A100. Bound by memory: 4 head_dim bytes a key and head of
// k. Partial results are 3 % of that, written and read again, at groups of 4 and chunks of 128 keys.
//
// paged_combine_kernel. Grid: rows x heads; a thread has a column. It also looks for faults of the
// sequence, since it is the one that writes its rows.
#ifndef L3V_CUDA_SPLIT_SM80_CUH
#define L3V_CUDA_SPLIT_SM80_CUH

#include "flash_sm80.cuh"

namespace l3v::cuda {

constexpr int kSplitWarps = 4, kSplitRows = 16;

// Where the partial results lie: [slots][heads][chunks][D + 2] floats, the two the softmax. A row's slot
// is its own number where all rows are split, else its sequence's number, which has one row then.
struct SplitPlan {
  float* partial;
  int64_t chunks;  // of the longest sequence that the table can hold
  int64_t few;     // sequences of more queries are left out; 0: none is
  L3V_BOTH int64_t slot(int64_t sequence, int64_t row) const { return few == 0 ? row : sequence; }
};

// How many blocks share the chunks of one of so many pieces of work: six a multiprocessor altogether,
// two for each place, so that the longest does not end alone.
inline unsigned blocks_of_chunks(int64_t chunks, int64_t pieces, const Card& card) {
  const int64_t each = divide_up(6 * static_cast<int64_t>(card.multiprocessors), pieces);
  return static_cast<unsigned>(each < chunks ? each : chunks);
}

template <int D>
struct SplitShared {
  FlashStage<D> stages[2];
  unsigned char q[kSplitRows][FlashHead<D>::kRowBytes];
  uint32_t seen[2][kFlashKeys / 32];
  FlashTile sequence;  // all its queries
};

template <int D>
__global__ void __launch_bounds__(kSplitWarps * 32, 3) paged_split_kernel(PagedCausal source, SplitPlan plan) {
  constexpr int kAll = kSplitWarps * 32, kTiles = (FlashHead<D>::kTiles + kSplitWarps - 1) / kSplitWarps;
  L3V_SHARED(SplitShared<D>, shared);
  const int64_t head = blockIdx.y, s = blockIdx.x;
  const int group = source.group;
  if (threadIdx.x < 32) {
    const int64_t sound = owner_of(source.q_offsets, source.sequences, source.q_rows, -1).sound;
    if (threadIdx.x == 0) {
      FlashTile tile{};
      if (s < sound) {
        const PagedSequence seq = sequence_at(source, s);
        const int64_t queries = seq.length - seq.first;
        const bool broken = seq.length == 0 || seq.first < 0 || seq.length > source.max_pages * source.page_size;
        if (!broken && (plan.few == 0 || queries <= plan.few))
          tile = {s, seq.begin, queries, seq.length, seq.first, 0, 0};
      }
      shared.sequence = tile;
    }
  }
  __syncthreads();
  const FlashTile& all = shared.sequence;
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int together = kSplitRows / group;  // queries at once
  for (int64_t chunk = blockIdx.z; chunk_begin(chunk, kFlashChunk) < all.keys; chunk += gridDim.z) {
    const int64_t begin = chunk_begin(chunk, kFlashChunk), end = chunk_begin(chunk + 1, kFlashChunk);
    // Queries before that see nothing of the chunk.
    const int64_t blind = begin > all.position ? begin - all.position : 0;
    for (int64_t done = blind; done < all.queries; done += together) {
      FlashTile tile = all;
      tile.first = all.first + done;
      tile.position = all.position + done;
      tile.queries = all.queries - done < together ? all.queries - done : together;
      const int64_t seen_end = tile.position + tile.queries;
      tile.keys = seen_end < end ? seen_end : end;

      load_rows<D, kAll>(shared.q, kSplitRows, FlashHead<D>::kPieces, source.q.data, [&](int r) -> const char* {
        if (r >= tile.queries * group) return nullptr;
        return reinterpret_cast<const char*>(row_of<const Bfloat16>(source.q, tile.first + r / group) + (head * group + r % group) * D);
      });
      load_keys<D, kAll>(source, tile, head, begin, tile.keys, shared.stages[0], shared.seen[0]);
      cp_async_commit();

      int row[2];
      int64_t last[2];
#pragma unroll
      for (int r = 0; r < 2; r++) {
        row[r] = lane / 4 + 8 * r;
        last[r] = row[r] < tile.queries * group ? source.last(tile, row[r] / group) : -1;
      }
      RowSoftmax soft[2];
      float acc[kTiles][4];
      clear(acc);
      const int64_t steps = (tile.keys - begin + kFlashKeys - 1) / kFlashKeys;
      for (int64_t step = 0; step < steps; step++) {
        const int64_t next = begin + (step + 1) * kFlashKeys;
        const int stage = static_cast<int>(step % 2);
        if (step + 1 < steps) load_keys<D, kAll>(source, tile, head, next, tile.keys, shared.stages[1 - stage], shared.seen[1 - stage]);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        // Again each step: registers are scarcer here than reads from shared memory.
        uint32_t q[FlashHead<D>::kSteps][4];
        load_queries<D>(shared.q, q);
        float s[kScoreTiles][4], by[2];
        uint32_t p[kFlashKeys / 16][4];
        scores<D>(q, shared.stages[stage], s);
        if (next - 1 > tile.position || next > tile.keys)
          hide<kScoreTiles>(s, {last_in_step<kFlashKeys>(last[0], next), last_in_step<kFlashKeys>(last[1], next)}, shared.seen[stage]);
        soften<kScoreTiles>(s, source.scale, soft, by);
        pack<kScoreTiles>(s, p);
        multiply(acc, by);
        add_values<D, kTiles>(p, shared.stages[stage], warp * kTiles, acc);
        __syncthreads();
      }
#pragma unroll
      for (int r = 0; r < 2; r++) {
        soft[r].sum = quad_sum(soft[r].sum);
        if (row[r] >= tile.queries * group) continue;
        const int64_t slot = plan.slot(tile.sequence, tile.first + row[r] / group);
        const int64_t q_head = head * group + row[r] % group, heads = group * source.kv_heads;
        float* out = plan.partial + ((slot * heads + q_head) * plan.chunks + chunk) * (D + 2);
#pragma unroll
        for (int t = 0; t < kTiles; t++) {
          const int column = (warp * kTiles + t) * 8 + lane % 4 * 2;
          if (column >= D) continue;
          out[column] = acc[t][2 * r];
          out[column + 1] = acc[t][2 * r + 1];
        }
        if (warp == 0 && lane % 4 == 0) {
          out[D] = soft[r].top;
          out[D + 1] = soft[r].sum;
        }
      }
    }
  }
}

struct CombineShared {
  FlashTile tile;  // one query
};

template <int D>
__global__ void __launch_bounds__(128) paged_combine_kernel(PagedCausal source, SplitPlan plan, unsigned long long* faults) {
  L3V_SHARED(CombineShared, shared);
  const int64_t head = blockIdx.y, heads = gridDim.y, slots = plan.few == 0 ? source.q_rows : source.sequences;
  for (int64_t slot = blockIdx.x; slot < slots; slot += gridDim.x) {
    if (threadIdx.x < 32) {
      const Owner owner = owner_of(source.q_offsets, source.sequences, source.q_rows, plan.few == 0 ? slot : -1);
      if (threadIdx.x == 0) {
        const int64_t s = plan.few == 0 ? owner.sequence : slot < owner.sound ? slot : -1;
        if (owner.sound < source.sequences) note_fault(faults + kFaultOffsets, owner.sound, *source.q_offsets.i32(owner.sound + 1));
        FlashTile tile{};
        tile.bad_page = kNoFault;
        if (s >= 0) {
          const PagedSequence seq = sequence_at(source, s);
          const int64_t queries = seq.length - seq.first;
          tile.sequence = s;
          tile.first = plan.few == 0 ? slot : seq.begin;
          tile.queries = plan.few == 0 || (queries > 0 && queries <= plan.few) ? 1 : 0;
          if (tile.queries != 0 && in_table(source, s, seq, faults)) {
            tile.position = seq.first + tile.first - seq.begin;
            tile.keys = tile.position + 1;
          }
        }
        shared.tile = tile;
      }
    }
    __syncthreads();
    source.check(&shared.tile, faults);
    __syncthreads();
    const FlashTile tile = shared.tile;
    __syncthreads();
    if (tile.queries == 0) continue;
    if (threadIdx.x >= D) continue;
    const float* part = plan.partial + (slot * heads + head) * plan.chunks * (D + 2);
    const int64_t chunks = tile.keys == 0 ? 0 : chunks_of(tile.keys, kFlashChunk);
    RowSoftmax all;
    float acc = 0;
#pragma unroll 4
    for (int64_t c = 0; c < chunks; c++, part += D + 2) {
      const Fold f = fold(&all, {part[D], part[D + 1]}, source.scale);
      acc = acc * f.keep + part[threadIdx.x] * f.add;
    }
    store(source.out, tile.first, head * D + threadIdx.x, chunks == 0 ? 0.0f : over(acc, all.sum));
  }
}

template <int D>
void split_sm80(const PagedCausal& source, const SplitPlan& plan, const Queue& q) {
  const auto paged_split_kernel = cuda::paged_split_kernel<D>;
  const auto paged_combine_kernel = cuda::paged_combine_kernel<D>;
  const dim3 grid(static_cast<unsigned>(source.sequences), static_cast<unsigned>(source.kv_heads),
                  blocks_of_chunks(plan.chunks, source.sequences * source.kv_heads, q.card));
  *q.failure = allow_shared(paged_split_kernel, sizeof(SplitShared<D>));
  if (*q.failure != cudaSuccess) return;
  L3V_LAUNCH(paged_split_kernel, grid, dim3(kSplitWarps * 32), sizeof(SplitShared<D>), q.stream, source, plan);
  const dim3 rows(blocks_for(plan.few == 0 ? source.q_rows : source.sequences).x, static_cast<unsigned>(source.group * source.kv_heads));
  L3V_LAUNCH(paged_combine_kernel, rows, dim3(128), sizeof(CombineShared), q.stream, source, plan, q.faults);
}

}  // namespace l3v::cuda
#endif
