// flash_sm90.cuh: attention on bfloat16 for Hopper (FlashAttention-3, Shah et al. 2024,
// arXiv:2407.08608): what flash_sm80.cuh computes, with TMA, WGMMA and warps of two kinds.
//
// A block has a tile of 128 rows. One warp brings q, and k and v of kWideKeys keys a step, into a ring
// in shared memory. Two warpgroups of 64 rows each compute: S = Q K^T with both factors in shared
// memory, then O += P V with P from registers. The product of the next step's scores runs on while the
// softmax of this one's is computed, and the two warpgroups, which nothing keeps in step, fill each
// other's gaps on the tensor cores.
//
// Tiles lie in panels of 64 columns, rows of 128 swizzled bytes. Heads of 72 take a second panel, of
// which Q K^T reads 16 columns (TMA brings zeros behind column 72, as the map ends there: the columns
// are those of one head) and P V, N = 72, 8.
//
// The copies of paged keys are a page each, of at least 8 positions, so that each begins where the
// swizzle does; in pages of 16, eight lanes each bring a page of a step. In the last step of a sequence, and under a mask, the warp that brings keys waits for them
// itself and puts zeros into the rows that count for nobody, since 0 x NaN would reach the sums.
//
// Sums are in another order than on flash_sm80's mma, and keys are not cut into chunks: batch-invariant
// contexts, in which a row decoded has the bits of the same row of a prompt, take flash_sm80. That costs
// them what mma.sync falls behind WGMMA, about half of the card's rate.
//
// Grid: tiles x heads of k; 3 warpgroups, one block a multiprocessor. Registers: 232 of a thread that
// computes, 40 of one that copies. Shared: 160 KiB (144 KiB at heads of 64). Bound by the tensor
// cores, then by exp2: at heads of 72, 128 x 128 of them take 1,024 cycles a step beside 1,216 of
// products. Not yet run on hardware.
#ifndef L3V_CUDA_FLASH_SM90_CUH
#define L3V_CUDA_FLASH_SM90_CUH

#include "flash_sm80.cuh"
#include "hopper.cuh"

namespace l3v::cuda {

constexpr int kWideRows = 128, kWideKeys = 128, kPanel = 64;  // columns of a panel
constexpr int kWideTiles = kWideKeys / 8;
constexpr int kWideThreads = 3 * 128;
constexpr int kLeastTogether = 8;  // rows of a copy
static_assert(kWideKeys / kLeastTogether <= 32, "a lane has one copy");
static_assert(kWideKeys % kTogether == 0, "a step is whole copies");

template <int D>
struct WideHead {
  static constexpr int kPanels = (D + kPanel - 1) / kPanel;
  static constexpr int kSteps = (D + 15) / 16;           // of Q K^T
  static constexpr int kStages = kPanels == 1 ? 4 : 2;   // of the rings
};

template <int D>
struct WideShared {
  using Panels = unsigned char[WideHead<D>::kPanels][kWideKeys][2 * kPanel];
  unsigned char q[WideHead<D>::kPanels][kWideRows][2 * kPanel];
  Panels k[WideHead<D>::kStages], v[WideHead<D>::kStages];
  Barrier q_full, here;  // here: of keys that the copying warp waits for
  Barrier k_full[WideHead<D>::kStages], k_empty[WideHead<D>::kStages], v_full[WideHead<D>::kStages], v_empty[WideHead<D>::kStages];
  uint32_t seen[WideHead<D>::kStages][kWideKeys / 32];
  FlashTile tile;
};

struct WideMaps {
  TensorMap q, k, v;  // [rows, heads, D]
};

// The warp that copies.
template <int D, class Source>
__device__ void bring(const Source& source, int32_t together, const WideMaps& maps, const FlashTile& tile, WideShared<D>& shared) {
  constexpr int kPanels = WideHead<D>::kPanels, kStages = WideHead<D>::kStages;
  const int lane = static_cast<int>(threadIdx.x % 32), head = static_cast<int>(blockIdx.y);
  const int64_t steps = (tile.keys + kWideKeys - 1) / kWideKeys;
  if (steps > 0 && lane == 0) {
    const int queries = kWideRows / source.group;
    mbarrier_arrive_expect(&shared.q_full, static_cast<uint32_t>(kPanels * queries * source.group * 2 * kPanel));
    for (int panel = 0; panel < kPanels; panel++)
      tma_load_3d(shared.q[panel], &maps.q, panel * kPanel, head * source.group, static_cast<int>(tile.first), &shared.q_full);
  }
  uint32_t waits = 0;  // for keys of the last steps
  for (int64_t step = 0; step < steps; step++) {
    const int64_t first = step * kWideKeys;
    const int stage = static_cast<int>(step % kStages);
    const uint32_t parity = static_cast<uint32_t>(step / kStages % 2);
    const bool whole = !source.masked() && first + kWideKeys <= tile.keys;
    const int64_t left = tile.keys - first;
    const int copies = whole ? kWideKeys / together : static_cast<int>((left < kWideKeys ? left + together - 1 : kWideKeys) / together);
    const uint32_t bytes = static_cast<uint32_t>(copies * together * kPanels * 2 * kPanel);
    // A lane issues one copy of each panel, so that the reads of a page table are under way together, and
    // that before there is room.
    const int row = lane < copies ? static_cast<int>(source.first_row(tile, first + lane * together)) : 0;
    const auto load = [&](const TensorMap* map, typename WideShared<D>::Panels& to, Barrier* full) {
      for (int panel = 0; panel < kPanels && lane < copies; panel++)
        tma_load_3d(to[panel][lane * together], map, panel * kPanel, head, row, full);
    };
    mbarrier_wait(&shared.k_empty[stage], parity ^ 1);
    Barrier* const k_full = whole ? &shared.k_full[stage] : &shared.here;
    if (lane == 0) mbarrier_arrive_expect(k_full, whole ? bytes : 2 * bytes);
    __syncwarp();
    load(&maps.k, shared.k[stage], k_full);
    mbarrier_wait(&shared.v_empty[stage], parity ^ 1);
    Barrier* const v_full = whole ? &shared.v_full[stage] : &shared.here;
    if (lane == 0 && whole) mbarrier_arrive_expect(v_full, bytes);
    __syncwarp();
    load(&maps.v, shared.v[stage], v_full);
    if (whole) continue;
    mbarrier_wait(&shared.here, waits++ % 2);
    for (int word = 0; word < kWideKeys / 32; word++) {
      const int key = word * 32 + lane;
      const bool counts = key < left && source.row_of(tile, first + key) >= 0;
      const unsigned bits = __ballot_sync(~0u, counts);
      if (lane == 0) shared.seen[stage][word] = bits;
      for (int panel = 0; panel < kPanels && !counts; panel++)
        for (int piece = 0; piece < 2 * kPanel / 16; piece++) {
          reinterpret_cast<Bytes16*>(shared.k[stage][panel][key])[piece] = {};
          reinterpret_cast<Bytes16*>(shared.v[stage][panel][key])[piece] = {};
        }
    }
    fence_async_shared();
    __syncwarp();
    if (lane == 0) {
      mbarrier_arrive(&shared.k_full[stage]);
      mbarrier_arrive(&shared.v_full[stage]);
    }
  }
}

// A warpgroup of 64 rows, from first on.
template <int D, class Source>
__device__ void attend_wide(const Source& source, const FlashTile& tile, int first_row, WideShared<D>& shared) {
  constexpr int kSteps = WideHead<D>::kSteps, kStages = WideHead<D>::kStages, kValues = D / 8;
  constexpr uint32_t kEight = 8 * 2 * kPanel;  // bytes of eight rows
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t head = blockIdx.y;
  const int group = source.group;
  int row[2];
  int64_t last[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    row[r] = first_row + static_cast<int>(threadIdx.x % 128 / 32) * 16 + lane / 4 + 8 * r;
    last[r] = row[r] < tile.queries * group ? source.last(tile, row[r] / group) : -1;
  }
  RowSoftmax soft[2];
  float s[kWideKeys / 2], o[D / 2], by[2];
  uint32_t p[kWideKeys / 16][4];
#pragma unroll
  for (int i = 0; i < D / 2; i++) o[i] = 0;
  bool seen_any = tile.keys > 0 && !source.masked();
  const int64_t steps = (tile.keys + kWideKeys - 1) / kWideKeys;
  const auto begin_scores = [&](int64_t step) {
    const int stage = static_cast<int>(step % kStages);
    mbarrier_wait(&shared.k_full[stage], static_cast<uint32_t>(step / kStages % 2));
    wgmma_registers(s);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kSteps; i++)
      wgmma<kWideKeys>(s, shared_descriptor(shared.q[i / 4][first_row] + i % 4 * 32, 0, kEight, Swizzle::k128),
                       shared_descriptor(shared.k[stage][i / 4][0] + i % 4 * 32, 0, kEight, Swizzle::k128), i > 0, Bf16());
    wgmma_commit();
  };
  const auto begin_values = [&](int64_t step) {
    const int stage = static_cast<int>(step % kStages);
    mbarrier_wait(&shared.v_full[stage], static_cast<uint32_t>(step / kStages % 2));
    wgmma_registers(o);
#pragma unroll
    for (int i = 0; i < kWideKeys / 16; i++) wgmma_registers(p[i]);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kWideKeys / 16; i++)
      wgmma_ra<D, Rows::kOfN>(o, p[i], shared_descriptor(shared.v[stage][0][i * 16], sizeof shared.v[stage][0], kEight, Swizzle::k128),
                              true, Bf16());
    wgmma_commit();
  };
  // Scores that are there, as probabilities; their keys are free.
  const auto take_scores = [&](int64_t step) {
    wgmma_registers(s);
    const int stage = static_cast<int>(step % kStages);
    const int64_t next = (step + 1) * kWideKeys;
    if (source.masked() || next - 1 > source.last(tile, 0) || next > tile.keys) {
      const bool partial = source.masked() || next > tile.keys;
      uint32_t seen[kWideKeys / 32], any = 0;
#pragma unroll
      for (int i = 0; i < kWideKeys / 32; i++) any |= seen[i] = partial ? shared.seen[stage][i] : ~0u;
      seen_any = seen_any || any != 0;
      hide<kWideTiles>(s, {last_in_step<kWideKeys>(last[0], next), last_in_step<kWideKeys>(last[1], next)}, seen);
    }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(&shared.k_empty[stage]);
    soften<kWideTiles>(s, source.scale, soft, by);
  };
  if (steps > 0) {
    mbarrier_wait(&shared.q_full, 0);
    begin_scores(0);
    wgmma_wait<0>();
    take_scores(0);
    pack<kWideTiles>(s, p);
    // Scores of a step go ahead of the values of the one before, and both are under way at once.
    for (int64_t step = 1; step < steps; step++) {
      begin_scores(step);
      begin_values(step - 1);
      wgmma_wait<1>();
      take_scores(step);
      wgmma_wait<0>();
      wgmma_registers(o);
      if (lane == 0) mbarrier_arrive(&shared.v_empty[(step - 1) % kStages]);
#pragma unroll
      for (int i = 0; i < D / 2; i++) o[i] *= by[i / 2 % 2];
      pack<kWideTiles>(s, p);
    }
    begin_values(steps - 1);
    wgmma_wait<0>();
    wgmma_registers(o);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float sum = quad_sum(soft[r].sum);
    if (row[r] >= tile.queries * group) continue;
    const int64_t query = tile.first + row[r] / group, column = (head * group + row[r] % group) * D + lane % 4 * 2;
#pragma unroll
    for (int t = 0; t < kValues; t++)
      store_pair(source.out, query, column + t * 8, seen_any ? over(at(o, t, 2 * r), sum) : 0.0f,
                 seen_any ? over(at(o, t, 2 * r + 1), sum) : 0.0f);
  }
}

template <int D, class Source>
__global__ void __launch_bounds__(kWideThreads, 1)
    flash_sm90_kernel(Source source, int32_t together, const __grid_constant__ WideMaps maps, unsigned long long* faults) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDACC__)
  L3V_SHARED(WideShared<D>, shared);
  source.find(blockIdx.x, kWideRows / source.group, faults, &shared.tile);
  // Rows of q behind the last whole group are never brought.
  for (int i = kWideRows / source.group * source.group * 8 + static_cast<int>(threadIdx.x); i < kWideRows * 8; i += kWideThreads)
    for (int panel = 0; panel < WideHead<D>::kPanels; panel++) reinterpret_cast<Bytes16*>(shared.q[panel][i / 8])[i % 8] = {};
  fence_async_shared();
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&maps.q);
    prefetch_tensor_map(&maps.k);
    prefetch_tensor_map(&maps.v);
    mbarrier_init(&shared.q_full, 1);
    mbarrier_init(&shared.here, 1);
    for (int stage = 0; stage < WideHead<D>::kStages; stage++) {
      mbarrier_init(&shared.k_full[stage], 1);
      mbarrier_init(&shared.v_full[stage], 1);
      mbarrier_init(&shared.k_empty[stage], 8);  // warps that compute
      mbarrier_init(&shared.v_empty[stage], 8);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  source.check(&shared.tile, faults);
  __syncthreads();
  const FlashTile tile = shared.tile;
  if (threadIdx.x < 128) {
    setmaxnreg_dec<40>();
    if (threadIdx.x < 32) bring<D>(source, together, maps, tile, shared);
  } else {
    setmaxnreg_inc<232>();
    attend_wide<D>(source, tile, static_cast<int>(threadIdx.x / 128 - 1) * 64, shared);
  }
#endif
}

// Whether copies of a page begin where the swizzle does.
template <class Source>
bool fits_sm90(const Source& source) {
  return source.together() >= kLeastTogether;
}

template <int D, class Source>
void flash_sm90(const Source& source, const Queue& q) {
  const auto map = [&](TensorMap* out, const Matrix& m, int64_t rows, int32_t heads, int32_t box_heads, int32_t box_rows) {
    const uint64_t dims[] = {D, static_cast<uint64_t>(heads), static_cast<uint64_t>(rows)};
    const uint64_t strides[] = {2 * D, static_cast<uint64_t>(m.stride) * 2};
    const uint32_t box[] = {kPanel, static_cast<uint32_t>(box_heads), static_cast<uint32_t>(box_rows)};
    if (*q.failure == cudaSuccess) *q.failure = make_tensor_map(out, m.data, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, dims, strides, box, Swizzle::k128);
  };
  WideMaps maps{};
  const int32_t group = source.group, together = source.together();
  map(&maps.q, source.q, source.rows(), source.kv_heads * group, group, kWideRows / group);
  map(&maps.k, source.k, source.key_rows(), source.kv_heads, 1, together);
  map(&maps.v, source.v, source.key_rows(), source.kv_heads, 1, together);
  if (*q.failure != cudaSuccess) return;
  const auto flash_sm90_kernel = cuda::flash_sm90_kernel<D, Source>;
  const dim3 grid(tiles_at_most(source, kWideRows / group), static_cast<unsigned>(source.kv_heads));
  *q.failure = allow_shared(flash_sm90_kernel, sizeof(WideShared<D>));
  if (*q.failure != cudaSuccess) return;
  L3V_LAUNCH(flash_sm90_kernel, grid, dim3(kWideThreads), sizeof(WideShared<D>), q.stream, source, together, maps, q.faults);
}

}  // namespace l3v::cuda
#endif
