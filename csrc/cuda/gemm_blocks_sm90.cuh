// gemm_blocks_sm90.cuh: the product of gemm_sm90.cuh with a weight of a block type: TMA brings x alone,
// and threads widen W into the other half of a stage.
//
// Grid and multiplying warpgroups are those of gemm_sm90.cuh. Two warpgroups bring tiles, each every other
// step of the block: it waits until its stage is empty, asks for x, widens 64 columns of kCols rows of W,
// which it loaded before it waited, into the order that TMA's 128-byte swizzle gives (piece p of row r at
// p ^ r % 8), and says with each warp's arrival behind a proxy fence that they are there.
//
// Registers: 512 threads of 128, so that a tile has at most 128 columns. Bound: a step of 128 x 128 is 512
// cycles of the tensor cores; its 8,192 values of W take about 5 instructions each, 320 cycles of the four
// schedulers. Not yet run on hardware.
#ifndef L3V_CUDA_GEMM_BLOCKS_SM90_CUH
#define L3V_CUDA_GEMM_BLOCKS_SM90_CUH

#include "dequantize_tile.cuh"
#include "gemm_sm90.cuh"

namespace l3v::cuda {

template <class TypeOf, int kRowsOf, int kColsOf, int kStagesOf>
struct GemmBlocksSm90 : GemmSm90<TypeOf, kRowsOf, kColsOf, kStagesOf> {
  static constexpr int kBringers = 2, kThreads = 128 * (kRowsOf / 64 + kBringers);
};

// The steps of a block, over all its units.
template <class Form>
struct Steps {
  const Product& p;
  int64_t units, unit, step, end;
  Place place;

  __device__ Steps(const Product& product, int64_t count) : p(product), units(count), unit(blockIdx.x) { enter(); }
  __device__ bool left() const { return unit < units; }
  __device__ void enter() {
    if (!left()) return;
    place = place_of<Form::kRows, Form::kCols>(p, unit);
    step = p.first_step(place.split);
    end = p.end_step(place.split);
  }
  __device__ void next() {
    if (!left() || ++step < end) return;
    unit += gridDim.x;
    enter();
  }
};

// What a thread widens of a tile: pieces of 16 values, of 4 a row.
template <class Form>
struct BlockTile {
  static constexpr int kCount = Form::kCols * 4 / 128;
  ChunkData held[kCount];

  static __device__ int row(int i) { return (static_cast<int>(threadIdx.x) % 128 + 128 * i) / 4; }
  static __device__ int column() { return static_cast<int>(threadIdx.x) % 4 * 16; }
  static __device__ bool valid(const WeightRows& w, const Steps<Form>& at, int i) {
    return at.place.out + row(i) < w.rows && at.step * Form::kDepth + column() < w.cols;
  }

  __device__ void load(const WeightRows& w, const Steps<Form>& at) {
#pragma unroll
    for (int i = 0; i < kCount; i++)
      if (valid(w, at, i)) load_values(held[i], w, at.place.out + row(i), at.step * Form::kDepth + column());
  }
  __device__ void store(Bytes16 (&tile)[Form::kCols][Form::kDepth / 8], const WeightRows& w, const Steps<Form>& at) const {
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      Bytes16 pieces[2] = {};
      if (valid(w, at, i)) widen_values<typename Form::Type>(pieces, w.dtype, held[i], column());
      const int first = column() / 8, swizzle = row(i) % 8;
      tile[row(i)][first ^ swizzle] = pieces[0];
      tile[row(i)][(first + 1) ^ swizzle] = pieces[1];
    }
  }
};

template <class Form>
__device__ void bring_tiles(typename Form::Shared& s, const TensorMap& x, const WeightRows& w, const Product& p, int64_t units, int which) {
  RingPlace<Form::kStages> at;
  Steps<Form> now(p, units);
  if (which == 1) {
    now.next();
    at.next();
  }
  BlockTile<Form> tile;
  if (now.left()) tile.load(w, now);
  while (now.left()) {
    typename Form::Stage& stage = s.ring[at.stage];
    mbarrier_wait(&s.empty[at.stage], at.parity ^ 1);
    if (threadIdx.x % 128 == 0) {
      mbarrier_arrive_expect(&s.full[at.stage], sizeof stage.x);
      tma_load_2d(stage.x, &x, static_cast<int>(now.step) * Form::kDepth, static_cast<int>(now.place.row), &s.full[at.stage]);
    }
    tile.store(stage.w, w, now);
    fence_async_shared();
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&s.full[at.stage]);
    for (int i = 0; i < Form::kBringers; i++) {
      now.next();
      at.next();
    }
    if (now.left()) tile.load(w, now);
  }
}

template <class Form>
__global__ void __launch_bounds__(Form::kThreads, 1)
    gemm_blocks_sm90_kernel(const __grid_constant__ TensorMap x, WeightRows w, Product p, int64_t units) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDACC__)
  L3V_SHARED(typename Form::Shared, s);
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Form::kStages; i++) {
      mbarrier_init(&s.full[i], 1 + 4);  // of x, and of each warp that widens
      mbarrier_init(&s.empty[i], 4 * Form::kConsumers);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  if (group >= Form::kConsumers) bring_tiles<Form>(s, x, w, p, units, group - Form::kConsumers);
  else multiply_tiles<Form>(s, p, units, group);
#endif
}

template <class Form>
void launch_gemm_blocks_sm90(const HalfRows& x, const WeightRows& w, const Product& p, int64_t units, const Queue& q) {
  constexpr bool kBf16 = std::is_same<typename Form::Type, Bf16>::value;
  constexpr CUtensorMapDataType kType = kBf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  TensorMap x_map;
  if (const cudaError_t e = make_tensor_map_2d(&x_map, x.data, kType, x.rows, x.cols, x.row_bytes, Form::kRows, Form::kDepth, Swizzle::k128);
      e != cudaSuccess) {
    *q.failure = e;
    return;
  }
  constexpr int64_t kShared = sizeof(typename Form::Shared);
  const auto gemm_blocks_sm90_kernel = cuda::gemm_blocks_sm90_kernel<Form>;
  if (allow_shared(gemm_blocks_sm90_kernel, kShared) != cudaSuccess) return;  // the runtime remembers why
  const dim3 grid(static_cast<unsigned>(units < q.card.multiprocessors ? units : q.card.multiprocessors));
  L3V_LAUNCH(gemm_blocks_sm90_kernel, grid, dim3(Form::kThreads), kShared, q.stream, x_map, w, p, units);
}

// Of the tiles of kTilesSm90 those of at most 128 columns; a wider one is that of 128, with as many splits.
constexpr TileChoice narrow_tile(TileChoice t) { return t.cols > 128 ? TileChoice{128, 128, 64, 6, t.splits} : t; }

template <class Type>
void gemm_blocks_sm90(const TileChoice& t, const HalfRows& x, const WeightRows& w, const Product& p, const Queue& q) {
  const int64_t units = units_of(t, p.rows, p.outs);
  if (t.cols == 128) launch_gemm_blocks_sm90<GemmBlocksSm90<Type, 128, 128, 6>>(x, w, p, units, q);
  else if (t.rows == 128) launch_gemm_blocks_sm90<GemmBlocksSm90<Type, 128, 64, 8>>(x, w, p, units, q);
  else launch_gemm_blocks_sm90<GemmBlocksSm90<Type, 64, 64, 8>>(x, w, p, units, q);
}

}  // namespace l3v::cuda
#endif
