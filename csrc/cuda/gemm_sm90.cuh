// gemm_sm90.cuh: the product of gemm.cuh by WGMMA, its tiles brought by TMA.
//
// Grid: at most a block a multiprocessor, each going over every gridDim'th unit (tile and split), with
// one warpgroup that brings tiles and kRows / 64 that multiply, 64 rows of x each by all kCols outputs.
// Tiles of 64 columns of k (128 bytes, in TMA's 128-byte swizzle) go through a ring of kStages: one
// thread waits until a stage is empty and asks for both its tiles; the multiplying warpgroups wait until
// it is full, and free the stage before as soon as its products are done, one step behind. The ring goes
// on over the units, so that a tile's first steps are under way while the one before is stored.
//
// Registers: with two multiplying warpgroups 168 a thread at the launch, then 40 for those that bring
// and 232 for those that multiply, whose sums take kCols / 2. One needs no such exchange.
//
// Bound: 4 wgmma m64n256k16 of a step are 512 cycles of the tensor cores and read 40 KiB of shared
// memory, 80 bytes a cycle of 128; a step of 128 x 256 brings 48 KiB from L2 in 1,024 cycles of two
// warpgroups. The narrower tiles are for products that leave multiprocessors idle. Not yet run on
// hardware.
#ifndef L3V_CUDA_GEMM_SM90_CUH
#define L3V_CUDA_GEMM_SM90_CUH

#include "gemm.cuh"
#include "hopper.cuh"

namespace l3v::cuda {

template <class TypeOf, int kRowsOf, int kColsOf, int kStagesOf>
struct GemmSm90 {
  using Type = TypeOf;
  static constexpr int kRows = kRowsOf, kCols = kColsOf, kStages = kStagesOf, kDepth = 64;
  static constexpr int kConsumers = kRows / 64, kThreads = 128 * (kConsumers + 1);
  struct Stage {
    Bytes16 x[kRows][kDepth / 8], w[kCols][kDepth / 8];
  };
  struct alignas(1024) Shared {
    Stage ring[kStages];
    WarpSums sums[4 * kConsumers];
    Barrier full[kStages], empty[kStages];
  };
  static_assert(sizeof(Stage) % 1024 == 0, "every tile begins where the swizzle does");
};

// Which stage of the ring is next, and the parity of the phase that it is in.
template <int kStages>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void next() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

// A multiplying warpgroup, whatever brings the tiles.
template <class Form>
__device__ void multiply_tiles(typename Form::Shared& s, const Product& p, int64_t units, int group) {
  constexpr int kCols = Form::kCols;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  RingPlace<Form::kStages> at;
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const Place place = place_of<Form::kRows, kCols>(p, unit);
    const int64_t first = p.first_step(place.split), end = p.end_step(place.split);
    float sum[kCols / 2] = {};
    wgmma_registers(sum);
    int before = -1;  // the stage whose products are under way
    for (int64_t step = first; step < end; step++) {
      mbarrier_wait(&s.full[at.stage], at.parity);
      wgmma_fence();
      const uint64_t a = shared_descriptor(s.ring[at.stage].x[64 * group], 0, 1024, Swizzle::k128);
      const uint64_t b = shared_descriptor(s.ring[at.stage].w, 0, 1024, Swizzle::k128);
#pragma unroll
      for (int k = 0; k < Form::kDepth / 16; k++)  // 32 bytes on, in the descriptors' units of 16
        wgmma<kCols>(sum, a + 2 * k, b + 2 * k, true, typename Form::Type{});
      wgmma_commit();
      wgmma_wait<1>();
      if (before >= 0 && threadIdx.x % 32 == 0) mbarrier_arrive(&s.empty[before]);
      before = at.stage;
      at.next();
    }
    wgmma_wait<0>();
    wgmma_registers(sum);
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&s.empty[before]);
#pragma unroll
    for (int j = 0; j < kCols / 32; j++) {
      if (place.out + 32 * j >= p.outs) continue;
      float part[4][4];
#pragma unroll
      for (int i = 0; i < 16; i++) part[i / 4][i % 4] = sum[16 * j + i];
      finish_sums(s.sums[warp], part, p, place.row + 16 * warp, place.out + 32 * j, place.split);
    }
  }
}

template <class Form>
__global__ void __launch_bounds__(Form::kThreads, 1)
    gemm_sm90_kernel(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Product p, int64_t units) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDACC__)
  constexpr int kStages = Form::kStages, kConsumers = Form::kConsumers;
  L3V_SHARED(typename Form::Shared, s);
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      mbarrier_init(&s.full[i], 1);
      mbarrier_init(&s.empty[i], 4 * kConsumers);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  if (group == kConsumers) {
    if constexpr (kConsumers == 2) setmaxnreg_dec<40>();
    if (threadIdx.x == 128 * kConsumers) {
      RingPlace<kStages> at;
      prefetch_tensor_map(&x);
      prefetch_tensor_map(&w);
      for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
        const Place place = place_of<Form::kRows, Form::kCols>(p, unit);
        const int64_t end = p.end_step(place.split);
        for (int64_t step = p.first_step(place.split); step < end; step++) {
          mbarrier_wait(&s.empty[at.stage], at.parity ^ 1);
          mbarrier_arrive_expect(&s.full[at.stage], sizeof(typename Form::Stage));
          const int k = static_cast<int>(step) * Form::kDepth;
          tma_load_2d(s.ring[at.stage].x, &x, k, static_cast<int>(place.row), &s.full[at.stage]);
          tma_load_2d(s.ring[at.stage].w, &w, k, static_cast<int>(place.out), &s.full[at.stage]);
          at.next();
        }
      }
    }
  } else {
    if constexpr (kConsumers == 2) setmaxnreg_inc<232>();
    multiply_tiles<Form>(s, p, units, group);
  }
#endif
}

template <class Form>
void launch_gemm_sm90(const HalfRows& x, const HalfRows& w, const Product& p, int64_t units, const Queue& q) {
  constexpr bool kBf16 = std::is_same<typename Form::Type, Bf16>::value;
  constexpr CUtensorMapDataType kType = kBf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  TensorMap x_map, w_map;
  cudaError_t e = make_tensor_map_2d(&x_map, x.data, kType, x.rows, x.cols, x.row_bytes, Form::kRows, Form::kDepth, Swizzle::k128);
  if (e == cudaSuccess)
    e = make_tensor_map_2d(&w_map, w.data, kType, w.rows, w.cols, w.row_bytes, Form::kCols, Form::kDepth, Swizzle::k128);
  if (e != cudaSuccess) {
    *q.failure = e;
    return;
  }
  constexpr int64_t kShared = sizeof(typename Form::Shared);
  if (allow_shared(gemm_sm90_kernel<Form>, kShared) != cudaSuccess) return;  // the launch's check finds it
  const dim3 grid(static_cast<unsigned>(units < q.card.multiprocessors ? units : q.card.multiprocessors));
  L3V_LAUNCH(gemm_sm90_kernel<Form>, grid, dim3(Form::kThreads), kShared, q.stream, x_map, w_map, p, units);
}

// By the tile that was chosen, of kTilesSm90.
template <class Type>
void gemm_sm90(const TileChoice& t, const HalfRows& x, const HalfRows& w, const Product& p, const Queue& q) {
  const int64_t units = units_of(t, p.rows, p.outs);
  if (t.cols == 256) launch_gemm_sm90<GemmSm90<Type, 128, 256, 4>>(x, w, p, units, q);
  else if (t.cols == 192) launch_gemm_sm90<GemmSm90<Type, 128, 192, 5>>(x, w, p, units, q);
  else if (t.cols == 128) launch_gemm_sm90<GemmSm90<Type, 128, 128, 6>>(x, w, p, units, q);
  else if (t.rows == 128) launch_gemm_sm90<GemmSm90<Type, 128, 64, 8>>(x, w, p, units, q);
  else launch_gemm_sm90<GemmSm90<Type, 64, 64, 8>>(x, w, p, units, q);
}

}  // namespace l3v::cuda
#endif
