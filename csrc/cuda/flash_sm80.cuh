// flash_sm80.cuh: attention on bfloat16 with mma.sync, online softmax, scores never in memory
// (FlashAttention-2, Dao 2023, arXiv:2307.08691):
//   S = Q K^T,  P = exp2(scale S - top),  O = P V / sum P
//
// A warp has 16 rows of a tile (flash_source.cuh) and takes kFlashKeys keys a step: S is a fragment of
// 16 x 64 in registers, and as the factor of P V it stays there, since the sums of one mma m16n8k16
// lie where the next one wants its left factor. Products are of bfloat16, so P is rounded to it; sums,
// tops and the softmax are float32.
//
// k and v come by cp.async into two stages; rows that count for nobody become zeros there, so that
// whatever they held cannot reach a sum (0 x NaN). A row of a tile in shared memory is padded to an
// odd number of 16-byte pieces: the eight rows that ldmatrix reads at once lie in different banks.
// Heads of 72 are padded to 80 columns, zeros on both sides, for Q K^T; P V has 9 tiles of 8 columns.
//
// In the causal form keys are cut into chunks (chunks.h), each with a softmax of its own, and the
// chunks' results are folded in order: split_sm80 gives the same bits from other blocks.
//
// flash_sm80_kernel. Grid: tiles x heads of k; 8 warps, 128 rows. Shared: two stages of k and v, 44 KiB
// at heads of 72, 68 KiB at 128. Bound by the tensor cores, and as close behind by what they read from
// shared memory: a warp reads each key and value for its 16 rows alone.
#ifndef L3V_CUDA_FLASH_SM80_CUH
#define L3V_CUDA_FLASH_SM80_CUH

#include "flash_source.cuh"
#include "ptx.cuh"

namespace l3v::cuda {

constexpr int kFlashKeys = 64;  // of a step
static_assert(kFlashChunk % kFlashKeys == 0, "a step is of one chunk");
constexpr int kFlashWarps = 8, kFlashRows = 16 * kFlashWarps;

template <int D>
struct FlashHead {
  static_assert(D % 8 == 0 && D <= 128, "pieces of 16 bytes");
  static constexpr int kSteps = (D + 15) / 16;   // of Q K^T, 16 columns each
  static constexpr int kTiles = D / 8;           // of P V, 8 columns each
  static constexpr int kPieces = kSteps * 2;     // of 16 bytes in a padded row
  static constexpr int kRowBytes = kPieces * 16 + 16;
};

template <int D>
struct FlashStage {
  unsigned char k[kFlashKeys][FlashHead<D>::kRowBytes], v[kFlashKeys][FlashHead<D>::kRowBytes];
};

template <int D>
struct FlashShared {
  FlashStage<D> stages[2];
  uint32_t seen[2][kFlashKeys / 32];  // bit i: key i of the step counts
  FlashTile tile;
};

// Lanes of a quarter of a warp share a row of a fragment.
__device__ inline float quad_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
  return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}
__device__ inline float quad_sum(float v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

// The softmax of some keys of one row: the highest score and the sum of exp2(scale (score - top)).
struct RowSoftmax {
  float top = -INFINITY, sum = 0;
};

// What a sum relative to from is multiplied with to be relative to top.
__device__ inline float shrink(float from, float top, float scale) {
  return top == -INFINITY ? 0.0f : exp2_approx(fmaf(from, scale, -(top * scale)));
}

// Puts part behind all; their sums of values then are all keep + part add.
struct Fold {
  float keep, add;
};
__device__ inline Fold fold(RowSoftmax* all, const RowSoftmax& part, float scale) {
  if (part.top == -INFINITY && part.sum == 0) return {1.0f, 0.0f};  // of no keys
  const float top = fmaxf(all->top, part.top);
  const Fold f{shrink(all->top, top, scale), shrink(part.top, top, scale)};
  *all = {top, all->sum * f.keep + part.sum * f.add};
  return f;
}
// 0 / 0 is NaN, as where all scores are -inf; + 0 makes one zero of two.
__device__ inline float over(float acc, float sum) { return acc / sum + 0.0f; }

// Two neighbouring columns of out, whose rows are aligned to 16 bytes.
__device__ inline void store_pair(const Matrix& out, int64_t row, int64_t column, float a, float b) {
  struct alignas(8) Pair {
    float a, b;
  };
  if (out.dtype == L3V_F32) *reinterpret_cast<Pair*>(row_of<float>(out, row) + column) = {a, b};
  else *reinterpret_cast<uint32_t*>(row_of<Bfloat16>(out, row) + column) = pack2(a, b, Bf16());
}

// The block's threads bring rows of q, k or v; source(r): where row r's head begins, null for zeros.
template <int D, int kThreadsAll, class Where>
__device__ void load_rows(unsigned char (*to)[FlashHead<D>::kRowBytes], int rows, int pieces, const void* any, const Where& source) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * pieces; i += kThreadsAll) {
    const int row = i / pieces, piece = i % pieces;
    const char* from = source(row);
    const bool valid = from != nullptr && piece < D / 8;
    cp_async_16(to[row] + piece * 16, valid ? from + piece * 16 : any, valid);
  }
}

// The keys of a step into a stage. Keys from end on count for nobody.
template <int D, int kThreadsAll, class Source>
__device__ void load_keys(const Source& source, const FlashTile& tile, int64_t head, int64_t first, int64_t end,
                          FlashStage<D>& stage, uint32_t* seen) {
  constexpr int kPieces = FlashHead<D>::kPieces, kAll = kFlashKeys * kPieces, kEach = (kAll + kThreadsAll - 1) / kThreadsAll;
  // Four places first: of paged keys each is a read, and they are under way together.
  constexpr int kPlaces = 4;
#pragma unroll
  for (int group = 0; group < kEach; group += kPlaces) {
    int64_t rows[kPlaces];
#pragma unroll
    for (int n = 0; n < kPlaces; n++) {
      const int64_t key = first + (static_cast<int>(threadIdx.x) + (group + n) * kThreadsAll) / kPieces;
      rows[n] = group + n < kEach && key < end ? source.row_of(tile, key) : -1;
    }
#pragma unroll
    for (int n = 0; n < kPlaces; n++) {
      const int i = static_cast<int>(threadIdx.x) + (group + n) * kThreadsAll, key = i / kPieces, piece = i % kPieces;
      if (i >= kAll) break;
      const bool valid = rows[n] >= 0 && piece < D / 8;
      const int64_t row = valid ? rows[n] : 0, at = valid ? head * D + piece * 8 : 0;
      cp_async_16(stage.k[key] + piece * 16, row_of<const Bfloat16>(source.k, row) + at, valid);
      if (piece < D / 8) cp_async_16(stage.v[key] + piece * 16, row_of<const Bfloat16>(source.v, row) + at, valid);
    }
  }
  if (threadIdx.x < kFlashKeys) {
    const int64_t key = first + threadIdx.x;
    const bool counts = key < end && source.row_of(tile, key) >= 0;
    const unsigned bits = __ballot_sync(~0u, counts);
    if (threadIdx.x % 32 == 0) seen[threadIdx.x / 32] = bits;
  }
}

// A warp's 16 rows of q as left factors.
template <int D>
__device__ void load_queries(const unsigned char (*q)[FlashHead<D>::kRowBytes], uint32_t (&out)[FlashHead<D>::kSteps][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int step = 0; step < FlashHead<D>::kSteps; step++)
    ldmatrix_x4(out[step], q[lane % 16] + (2 * step + lane / 16) * 16);
}

constexpr int kScoreTiles = kFlashKeys / 8;

// S of the warp's rows and the keys of a stage.
template <int D>
__device__ void scores(const uint32_t (&q)[FlashHead<D>::kSteps][4], const FlashStage<D>& stage, float (&s)[kScoreTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int tile = 0; tile < kScoreTiles; tile += 2) {
#pragma unroll
    for (int i = 0; i < 4; i++) s[tile][i] = s[tile + 1][i] = 0;
#pragma unroll
    for (int step = 0; step < FlashHead<D>::kSteps; step++) {
      uint32_t b[4];
      ldmatrix_x4(b, stage.k[tile * 8 + lane / 16 * 8 + lane % 8] + (2 * step + lane / 8 % 2) * 16);
      const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
      mma_m16n8k16(s[tile], q[step], left, Bf16());
      mma_m16n8k16(s[tile + 1], q[step], right, Bf16());
    }
  }
}

// Element i of tile t of a warp's fragment, as mma has it by tiles and wgmma in one.
template <int N>
__device__ float& at(float (&s)[N][4], int t, int i) { return s[t][i]; }
template <int N>
__device__ float& at(float (&s)[N], int t, int i) { return s[4 * t + i]; }

// Takes away what a row does not see: keys past its last, and those that count for nobody. last: of
// the thread's two rows, g and g + 8, in keys of the step.
template <int kTiles, class Scores>
__device__ void hide(Scores& s, const int (&last)[2], const uint32_t (&seen)[kTiles / 4]) {
#pragma unroll
  for (int t = 0; t < kTiles; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int bit = t % 4 * 8 + static_cast<int>(threadIdx.x % 4) * 2 + i % 2;
      if (t / 4 * 32 + bit > last[i / 2] || (seen[t / 4] >> bit & 1) == 0) at(s, t, i) = -INFINITY;
    }
}

// The last key of a row in the step that ends before next.
template <int kKeys>
__device__ int last_in_step(int64_t last, int64_t next) {
  return last < next ? static_cast<int>(last - (next - kKeys)) : kKeys;
}

// S becomes P. The softmax of the two rows takes the step in, its sum that of this thread's columns
// alone. by: what sums of values so far are multiplied with.
template <int kTiles, class Scores>
__device__ void soften(Scores& s, float scale, RowSoftmax (&soft)[2], float (&by)[2]) {
  float base[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float top = soft[r].top;
#pragma unroll
    for (int t = 0; t < kTiles; t++) top = fmaxf(top, fmaxf(at(s, t, 2 * r), at(s, t, 2 * r + 1)));
    top = quad_max(top);
    by[r] = shrink(soft[r].top, top, scale);
    base[r] = top == -INFINITY ? 0.0f : top * scale;
    soft[r] = {top, soft[r].sum * by[r]};
  }
#pragma unroll
  for (int t = 0; t < kTiles; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      at(s, t, i) = exp2_approx(fmaf(at(s, t, i), scale, -base[i / 2]));
      soft[i / 2].sum += at(s, t, i);
    }
}

// P as left factors of P V, 16 keys each.
template <int kTiles, class Scores>
__device__ void pack(Scores& s, uint32_t (&p)[kTiles / 2][4]) {
#pragma unroll
  for (int t = 0; t < kTiles; t++) {
    p[t / 2][t % 2 * 2] = pack2(at(s, t, 0), at(s, t, 1), Bf16());
    p[t / 2][t % 2 * 2 + 1] = pack2(at(s, t, 2), at(s, t, 3), Bf16());
  }
}

// acc += P V over kCount tiles of 8 columns from first on, of which those from D / 8 on are left out.
template <int D, int kCount>
__device__ void add_values(const uint32_t (&p)[kFlashKeys / 16][4], const FlashStage<D>& stage, int first, float (&acc)[kCount][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int step = 0; step < kFlashKeys / 16; step++) {
    const unsigned char* row = stage.v[step * 16 + lane % 16];
#pragma unroll
    for (int tile = 0; tile < kCount; tile += 2) {
      // A warp has as many whole tiles as its part of the head; two at a time while there are two.
      const int here = first + tile;
      if (here + 1 < FlashHead<D>::kTiles && tile + 1 < kCount) {
        uint32_t b[4];
        ldmatrix_x4_trans(b, row + (here + lane / 16) * 16);
        const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
        mma_m16n8k16(acc[tile], p[step], left, Bf16());
        mma_m16n8k16(acc[tile + 1 < kCount ? tile + 1 : tile], p[step], right, Bf16());
      } else if (here < FlashHead<D>::kTiles) {
        uint32_t b[2];
        ldmatrix_x2_trans(b, row + here * 16);
        mma_m16n8k16(acc[tile], p[step], b, Bf16());
      }
    }
  }
}

template <int kCount>
__device__ void multiply(float (&acc)[kCount][4], const float (&by)[2]) {
#pragma unroll
  for (int tile = 0; tile < kCount; tile++)
#pragma unroll
    for (int i = 0; i < 4; i++) acc[tile][i] *= by[i / 2];
}

template <int kCount>
__device__ void clear(float (&acc)[kCount][4]) {
#pragma unroll
  for (int tile = 0; tile < kCount; tile++)
#pragma unroll
    for (int i = 0; i < 4; i++) acc[tile][i] = 0;
}

template <int D, class Source>
__global__ void __launch_bounds__(kFlashWarps * 32, 1) flash_sm80_kernel(Source source, unsigned long long* faults) {
  constexpr int kAll = kFlashWarps * 32, kTiles = FlashHead<D>::kTiles;
  L3V_SHARED(FlashShared<D>, shared);
  const int64_t head = blockIdx.y;
  const int group = source.group;
  source.find(blockIdx.x, kFlashRows / group, faults, &shared.tile);
  __syncthreads();
  source.check(&shared.tile, faults);
  __syncthreads();
  const FlashTile tile = shared.tile;

  // Queries come through the second stage, which is free until the second step's keys.
  auto* q_rows = reinterpret_cast<unsigned char(*)[FlashHead<D>::kRowBytes]>(&shared.stages[1]);
  static_assert(kFlashRows <= 2 * kFlashKeys, "queries fit a stage");
  load_rows<D, kAll>(q_rows, kFlashRows, FlashHead<D>::kPieces, source.q.data, [&](int r) -> const char* {
    if (r >= tile.queries * group) return nullptr;
    return reinterpret_cast<const char*>(row_of<const Bfloat16>(source.q, tile.first + r / group) + (head * group + r % group) * D);
  });
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  uint32_t q[FlashHead<D>::kSteps][4];
  load_queries<D>(q_rows + warp * 16, q);
  __syncthreads();

  // The last key of the thread's two rows; rows that are not there see none.
  int row[2];
  int64_t last[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    row[r] = warp * 16 + lane / 4 + 8 * r;
    last[r] = row[r] < tile.queries * group ? source.last(tile, row[r] / group) : -1;
  }

  RowSoftmax soft[2], all[2];
  float acc[kTiles][4], total[Source::kCausal ? kTiles : 1][4];
  clear(acc);
  clear(total);
  bool seen_any = tile.keys > 0 && !source.masked();
  int64_t chunk = 0;
  const int64_t steps = (tile.keys + kFlashKeys - 1) / kFlashKeys;
  if (steps > 0) load_keys<D, kAll>(source, tile, head, 0, tile.keys, shared.stages[0], shared.seen[0]);
  cp_async_commit();
  for (int64_t step = 0; step < steps; step++) {
    const int64_t next = (step + 1) * kFlashKeys;
    const int stage = static_cast<int>(step % 2);
    if (step + 1 < steps) load_keys<D, kAll>(source, tile, head, next, tile.keys, shared.stages[1 - stage], shared.seen[1 - stage]);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    float s[kScoreTiles][4], by[2];
    uint32_t p[kFlashKeys / 16][4];
    scores<D>(q, shared.stages[stage], s);
    // Only the last steps of a tile, and masks, hide anything.
    if (source.masked() || next - 1 > source.last(tile, 0) || next > tile.keys) {
      hide<kScoreTiles>(s, {last_in_step<kFlashKeys>(last[0], next), last_in_step<kFlashKeys>(last[1], next)}, shared.seen[stage]);
      seen_any = seen_any || (shared.seen[stage][0] | shared.seen[stage][1]) != 0;
    }
    soften<kScoreTiles>(s, source.scale, soft, by);
    pack<kScoreTiles>(s, p);
    multiply(acc, by);
    add_values<D, kTiles>(p, shared.stages[stage], 0, acc);
    if constexpr (Source::kCausal) {
      if (step + 1 == steps || next == chunk_begin(chunk + 1, kFlashChunk)) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
          soft[r].sum = quad_sum(soft[r].sum);
          const Fold f = fold(&all[r], soft[r], source.scale);
          soft[r] = {};
#pragma unroll
          for (int t = 0; t < kTiles; t++)
#pragma unroll
            for (int i = 2 * r; i < 2 * r + 2; i++) total[t][i] = total[t][i] * f.keep + acc[t][i] * f.add;
        }
        clear(acc);
        chunk++;
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int r = 0; r < 2; r++) {
    float sum;
    if constexpr (Source::kCausal) sum = all[r].sum;
    else sum = quad_sum(soft[r].sum);
    if (row[r] >= tile.queries * group) continue;
    const int64_t query = tile.first + row[r] / group, column = (head * group + row[r] % group) * D + lane % 4 * 2;
#pragma unroll
    for (int t = 0; t < kTiles; t++) {
      const float a = Source::kCausal ? total[Source::kCausal ? t : 0][2 * r] : acc[t][2 * r];
      const float b = Source::kCausal ? total[Source::kCausal ? t : 0][2 * r + 1] : acc[t][2 * r + 1];
      store_pair(source.out, query, column + t * 8, seen_any ? over(a, sum) : 0.0f, seen_any ? over(b, sum) : 0.0f);
    }
  }
}

template <int D, class Source>
void flash_sm80(const Source& source, const Queue& q) {
  const auto flash_sm80_kernel = cuda::flash_sm80_kernel<D, Source>;
  const dim3 grid(tiles_at_most(source, kFlashRows / source.group), static_cast<unsigned>(source.kv_heads));
  *q.failure = allow_shared(flash_sm80_kernel, sizeof(FlashShared<D>));
  if (*q.failure != cudaSuccess) return;
  L3V_LAUNCH(flash_sm80_kernel, grid, dim3(kFlashWarps * 32), sizeof(FlashShared<D>), q.stream, source, q.faults);
}

}  // namespace l3v::cuda
#endif
