// hopper.cuh: one C++ function an instruction of PTX, for sm_90a alone (PTX ISA 9.0, sections
// "mbarrier", "Tensor copy", "Asynchronous warpgroup level matrix instructions"), and the host's
// half of TMA, tensor maps. ptx.cuh says the rest.
//
// In code for other cards the functions trap: who launches a kernel of these has looked at the card.
// Threads reach shared memory through the generic proxy, TMA and WGMMA through the async one. What
// threads wrote, those two read behind fence_async_shared() of the writers and a barrier.
#ifndef L3V_CUDA_HOPPER_CUH
#define L3V_CUDA_HOPPER_CUH

#include <cuda.h>

#include "ptx.cuh"

namespace l3v::cuda {

// Counts arrivals of threads and bytes of copies, phase after phase. In shared memory.
struct alignas(8) Barrier {
  uint64_t state;
};

// Where in global memory a tensor lies and what a copy takes of it. Kernels take it as
// `const __grid_constant__ TensorMap`, which gives it the address that TMA needs.
using TensorMap = CUtensorMap;

// The order of 16-byte pieces in rows of a tile in shared memory, repeating every 8 rows: piece p of
// row r stands at p ^ r % 8 in rows of 128 bytes, p ^ r / 2 % 4 in rows of 64, p ^ r / 4 % 2 in rows
// of 32. The tile begins at a multiple of 1024, 512, 256 bytes.
enum class Swizzle { kNone, k32, k64, k128 };

// Which index of B [k, n] runs along the rows of its tile: k (B as [n, k] in memory, a weight), or n
// (B as [k, n], values of attention).
enum class Rows { kOfK, kOfN };

}  // namespace l3v::cuda

#if !defined(__CUDACC__)
#include <emulated_hopper.h>
#else

namespace l3v::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define L3V_SM90(...) asm volatile(__VA_ARGS__)
#else
#define L3V_SM90(...) __trap()
#endif

// ---- Barriers in shared memory. ------------------------------------------------------------

// One thread; then mbarrier_fence_init and __syncthreads.
__device__ __forceinline__ void mbarrier_init(Barrier* b, uint32_t arrivals) {
  L3V_SM90("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void mbarrier_fence_init() { L3V_SM90("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ void mbarrier_arrive(Barrier* b) {
  L3V_SM90("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
// Also: the phase lasts until copies have brought so many bytes more.
__device__ __forceinline__ void mbarrier_arrive_expect(Barrier* b, uint32_t bytes) {
  L3V_SM90("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}

// Whether the phase of this parity is over; may wait a while before it says no.
__device__ __forceinline__ bool mbarrier_try_wait(Barrier* b, uint32_t parity) {
  uint32_t over = 0;
  L3V_SM90(
      "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
      : "=r"(over)
      : "r"(shared_address(b)), "r"(parity)
      : "memory");
  return over != 0;
}
// Until the phase of this parity is over: 0 for the first phase, 1 for the second, 0 for the third.
// Of a barrier that has seen none, parity 1 is over at once.
__device__ __forceinline__ void mbarrier_wait(Barrier* b, uint32_t parity) {
  while (!mbarrier_try_wait(b, parity)) {
  }
}

// What the thread did to shared memory comes before what the async proxy does behind it.
__device__ __forceinline__ void fence_async_shared() { L3V_SM90("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- TMA. Coordinates are elements: x along the rows in memory, then y, then z; they may be
// outside, negative too, where loads bring zeros and stores do nothing. shared: a multiple of 128
// bytes, with a swizzle of what that says. -----------------------------------------------------

__device__ __forceinline__ void prefetch_tensor_map(const TensorMap* map) {
  L3V_SM90("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// One thread. Brings the map's box, whose bytes (those outside the tensor too) count at the barrier.
__device__ __forceinline__ void tma_load_2d(void* shared, const TensorMap* map, int x, int y, Barrier* b) {
  L3V_SM90(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          shared_address(shared)),
      "l"(map), "r"(x), "r"(y), "r"(shared_address(b))
      : "memory");
}
__device__ __forceinline__ void tma_load_3d(void* shared, const TensorMap* map, int x, int y, int z, Barrier* b) {
  L3V_SM90(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];" ::"r"(shared_address(shared)),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(b))
      : "memory");
}
// One thread, behind fence_async_shared of those who wrote the tile and a barrier. It reads the tile
// until tma_store_wait_read of the same thread.
__device__ __forceinline__ void tma_store_2d(const TensorMap* map, const void* shared, int x, int y) {
  L3V_SM90("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(x), "r"(y),
           "r"(shared_address(shared))
           : "memory");
}
__device__ __forceinline__ void tma_store_3d(const TensorMap* map, const void* shared, int x, int y, int z) {
  L3V_SM90("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(map), "r"(x),
           "r"(y), "r"(z), "r"(shared_address(shared))
           : "memory");
}
__device__ __forceinline__ void tma_store_commit() { L3V_SM90("cp.async.bulk.commit_group;" ::: "memory"); }
// Until all but the thread's N newest groups have read their tiles,
template <int N>
__device__ __forceinline__ void tma_store_wait_read() {
  L3V_SM90("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}
// or have written too.
template <int N>
__device__ __forceinline__ void tma_store_wait() {
  L3V_SM90("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}

// ---- Products of a warpgroup: 4 warps, the first a multiple of 4, all their threads together. ----
// ptxas puts one product behind the other (its notes C7510 to C7520 say so) where a fence, commit or
// wait stands in a branch of the loop: they belong in its body, and wgmma_wait<0> behind it.

// Before the first wgmma, and whenever a thread has touched the sums or the factors in registers.
__device__ __forceinline__ void wgmma_fence() { L3V_SM90("wgmma.fence.sync.aligned;" ::: "memory"); }
// The products since the last commit are a group.
__device__ __forceinline__ void wgmma_commit() { L3V_SM90("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until all but the N newest groups are done. Till then nobody touches their sums, or writes their
// factors.
template <int N>
__device__ __forceinline__ void wgmma_wait() {
  L3V_SM90("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// No instruction: keeps the compiler from moving what it does with registers across this line. Sums
// before wgmma_fence and after wgmma_wait, factors in registers before the fence.
template <int N>
__device__ __forceinline__ void wgmma_registers(float (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(r[i])::"memory");
}
template <int N>
__device__ __forceinline__ void wgmma_registers(uint32_t (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+r"(r[i])::"memory");
}

// How wgmma finds a factor in shared memory: where its tile begins, and two distances in bytes. A
// tile has rows of as many bytes as its swizzle says.
//   rows of k: stride from 8 rows to the next 8; leading is not used (pass 0). The next 16 of k, in
//     the same rows, are a descriptor whose tile begins 32 bytes on.
//   rows of n: stride from 8 rows (of k) to the next 8, leading from one tile to the next along n.
// Without a swizzle a tile is 8 rows of 16 bytes: stride goes to the next along m or n, leading to the
// next along k.
__device__ __forceinline__ uint64_t shared_descriptor(const void* tile, uint32_t leading, uint32_t stride, Swizzle swizzle) {
  constexpr uint64_t kField = 0x3FFFF;
  const uint64_t layout = swizzle == Swizzle::k128 ? 1 : swizzle == Swizzle::k64 ? 2 : swizzle == Swizzle::k32 ? 3 : 0;
  return (shared_address(tile) & kField) >> 4 | ((leading & kField) >> 4) << 16 | ((stride & kField) >> 4) << 32 | layout << 62;
}

// The operands of an accumulator, d[0] and up, and how the text names them.
#define L3V_TEXT4 "%0, %1, %2, %3"
#define L3V_TEXT8 L3V_TEXT4 ", %4, %5, %6, %7"
#define L3V_TEXT12 L3V_TEXT8 ", %8, %9, %10, %11"
#define L3V_TEXT16 L3V_TEXT12 ", %12, %13, %14, %15"
#define L3V_TEXT20 L3V_TEXT16 ", %16, %17, %18, %19"
#define L3V_TEXT24 L3V_TEXT20 ", %20, %21, %22, %23"
#define L3V_TEXT32 L3V_TEXT24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define L3V_TEXT36 L3V_TEXT32 ", %32, %33, %34, %35"
#define L3V_TEXT40 L3V_TEXT36 ", %36, %37, %38, %39"
#define L3V_TEXT48 L3V_TEXT40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define L3V_TEXT64 L3V_TEXT48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define L3V_TEXT96 L3V_TEXT64 ", " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, " \
  "%81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define L3V_TEXT128 L3V_TEXT96 ", " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, " \
  "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, " \
  "%124, %125, %126, %127"
#define L3V_SUMS4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define L3V_LIST4 L3V_SUMS4(0)
#define L3V_LIST8 L3V_LIST4, L3V_SUMS4(4)
#define L3V_LIST12 L3V_LIST8, L3V_SUMS4(8)
#define L3V_LIST16 L3V_LIST12, L3V_SUMS4(12)
#define L3V_LIST20 L3V_LIST16, L3V_SUMS4(16)
#define L3V_LIST24 L3V_LIST20, L3V_SUMS4(20)
#define L3V_LIST32 L3V_LIST24, L3V_SUMS4(24), L3V_SUMS4(28)
#define L3V_LIST36 L3V_LIST32, L3V_SUMS4(32)
#define L3V_LIST40 L3V_LIST36, L3V_SUMS4(36)
#define L3V_LIST48 L3V_LIST40, L3V_SUMS4(40), L3V_SUMS4(44)
#define L3V_LIST64 L3V_LIST48, L3V_SUMS4(48), L3V_SUMS4(52), L3V_SUMS4(56), L3V_SUMS4(60)
#define L3V_LIST96 L3V_LIST64, \
  L3V_SUMS4(64), L3V_SUMS4(68), L3V_SUMS4(72), L3V_SUMS4(76), L3V_SUMS4(80), L3V_SUMS4(84), \
  L3V_SUMS4(88), L3V_SUMS4(92)
#define L3V_LIST128 L3V_LIST96, \
  L3V_SUMS4(96), L3V_SUMS4(100), L3V_SUMS4(104), L3V_SUMS4(108), L3V_SUMS4(112), \
  L3V_SUMS4(116), L3V_SUMS4(120), L3V_SUMS4(124)

#define L3V_WGMMA(type, n, k, a, b, keep, rows) \
  L3V_SM90("{\n.reg .pred p;\nsetp.ne.b32 p, %" #keep ", 0;\n"                                                    \
           "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" L3V_TEXT##k "}, %" #a ", %" #b \
           ", p, 1, 1, 0, %" #rows ";\n}"                                                                         \
           : L3V_LIST##k                                                                                          \
           : "l"(desc_a), "l"(desc_b), "r"(accumulate ? 1 : 0), "n"(kRows == Rows::kOfN ? 1 : 0))
#define L3V_WGMMA_RA(type, n, k, a0, a1, a2, a3, b, keep, rows) \
  L3V_SM90("{\n.reg .pred p;\nsetp.ne.b32 p, %" #keep ", 0;\n"                                                    \
           "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" L3V_TEXT##k "}, {%" #a0 ", %" #a1 \
           ", %" #a2 ", %" #a3 "}, %" #b ", p, 1, 1, %" #rows ";\n}"                                              \
           : L3V_LIST##k                                                                                          \
           : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(desc_b), "r"(accumulate ? 1 : 0),                    \
             "n"(kRows == Rows::kOfN ? 1 : 0))

// Warpgroup. d [64, N] = a b, + d where accumulate; a [64, 16], b [16, N], sums in float32. Of warp w
// of the four, with g = lane / 4 and t = lane % 4,
//   d[4 j], d[4 j + 1]      row 16 w + g      columns 8 j + 2 t and the next
//   d[4 j + 2], d[4 j + 3]  row 16 w + g + 8  the same
// and a in registers is as in mma_m16n8k16, its rows 16 w and up.
#define L3V_WGMMA_FORMS(Type, type)                                                                                  \
template <int N, Rows kRows = Rows::kOfK>                                                                            \
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t desc_a, uint64_t desc_b, bool accumulate, Type) {  \
  if constexpr (N == 8) L3V_WGMMA(type, 8, 4, 4, 5, 6, 7);                                                           \
  else if constexpr (N == 16) L3V_WGMMA(type, 16, 8, 8, 9, 10, 11);                                                  \
  else if constexpr (N == 24) L3V_WGMMA(type, 24, 12, 12, 13, 14, 15);                                               \
  else if constexpr (N == 32) L3V_WGMMA(type, 32, 16, 16, 17, 18, 19);                                               \
  else if constexpr (N == 40) L3V_WGMMA(type, 40, 20, 20, 21, 22, 23);                                               \
  else if constexpr (N == 48) L3V_WGMMA(type, 48, 24, 24, 25, 26, 27);                                               \
  else if constexpr (N == 64) L3V_WGMMA(type, 64, 32, 32, 33, 34, 35);                                               \
  else if constexpr (N == 72) L3V_WGMMA(type, 72, 36, 36, 37, 38, 39);                                               \
  else if constexpr (N == 80) L3V_WGMMA(type, 80, 40, 40, 41, 42, 43);                                               \
  else if constexpr (N == 96) L3V_WGMMA(type, 96, 48, 48, 49, 50, 51);                                               \
  else if constexpr (N == 128) L3V_WGMMA(type, 128, 64, 64, 65, 66, 67);                                             \
  else if constexpr (N == 192) L3V_WGMMA(type, 192, 96, 96, 97, 98, 99);                                             \
  else if constexpr (N == 256) L3V_WGMMA(type, 256, 128, 128, 129, 130, 131);                                        \
  else static_assert(N == 0, "a wgmma of this N has no line here");                                                  \
}                                                                                                                    \
template <int N, Rows kRows = Rows::kOfK>                                                                            \
__device__ __forceinline__ void wgmma_ra(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t desc_b, bool accumulate, \
                                         Type) {                                                                     \
  if constexpr (N == 8) L3V_WGMMA_RA(type, 8, 4, 4, 5, 6, 7, 8, 9, 10);                                              \
  else if constexpr (N == 16) L3V_WGMMA_RA(type, 16, 8, 8, 9, 10, 11, 12, 13, 14);                                   \
  else if constexpr (N == 24) L3V_WGMMA_RA(type, 24, 12, 12, 13, 14, 15, 16, 17, 18);                                \
  else if constexpr (N == 32) L3V_WGMMA_RA(type, 32, 16, 16, 17, 18, 19, 20, 21, 22);                                \
  else if constexpr (N == 40) L3V_WGMMA_RA(type, 40, 20, 20, 21, 22, 23, 24, 25, 26);                                \
  else if constexpr (N == 48) L3V_WGMMA_RA(type, 48, 24, 24, 25, 26, 27, 28, 29, 30);                                \
  else if constexpr (N == 64) L3V_WGMMA_RA(type, 64, 32, 32, 33, 34, 35, 36, 37, 38);                                \
  else if constexpr (N == 72) L3V_WGMMA_RA(type, 72, 36, 36, 37, 38, 39, 40, 41, 42);                                \
  else if constexpr (N == 80) L3V_WGMMA_RA(type, 80, 40, 40, 41, 42, 43, 44, 45, 46);                                \
  else if constexpr (N == 96) L3V_WGMMA_RA(type, 96, 48, 48, 49, 50, 51, 52, 53, 54);                                \
  else if constexpr (N == 128) L3V_WGMMA_RA(type, 128, 64, 64, 65, 66, 67, 68, 69, 70);                              \
  else if constexpr (N == 192) L3V_WGMMA_RA(type, 192, 96, 96, 97, 98, 99, 100, 101, 102);                           \
  else if constexpr (N == 256) L3V_WGMMA_RA(type, 256, 128, 128, 129, 130, 131, 132, 133, 134);                      \
  else static_assert(N == 0, "a wgmma of this N has no line here");                                                  \
}
L3V_WGMMA_FORMS(Bf16, "bf16")
L3V_WGMMA_FORMS(F16, "f16")
#undef L3V_WGMMA_FORMS
#undef L3V_WGMMA
#undef L3V_WGMMA_RA

// Warpgroup. Takes registers from the block's pool, or gives them back: N a thread from here on, a
// multiple of 8 from 24 to 256. ptxas passes over it (note C7508) without __launch_bounds__(threads, 1).
template <int N>
__device__ __forceinline__ void setmaxnreg_inc() {
  L3V_SM90("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
__device__ __forceinline__ void setmaxnreg_dec() {
  L3V_SM90("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

#undef L3V_SM90

}  // namespace l3v::cuda
#endif

namespace l3v::cuda {

// ---- The host's half. ----------------------------------------------------------------------

// A map of a tensor of rank 2 or 3. dims and box: elements, the one that lies together first; strides:
// bytes from one to the next of dims[1] and dims[2]. The driver's rules: base and strides multiples
// of 16 bytes, a box of at most 256 each way, whose rows are a multiple of 16 bytes and, with a
// swizzle, no longer than it.
inline cudaError_t make_tensor_map(TensorMap* map, const void* base, CUtensorMapDataType type, uint32_t rank,
                                   const uint64_t* dims, const uint64_t* strides, const uint32_t* box, Swizzle swizzle) {
  using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                              const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  void* encode = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t e =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found);
  if (e != cudaSuccess) return e;
  if (found != cudaDriverEntryPointSuccess) return cudaErrorInsufficientDriver;
  constexpr CUtensorMapSwizzle kSwizzles[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                              CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B};
  constexpr cuuint32_t kSteps[] = {1, 1, 1};
  cuuint64_t all_dims[3] = {}, all_strides[2] = {};
  for (uint32_t i = 0; i < rank && i < 3; i++) all_dims[i] = dims[i];
  for (uint32_t i = 0; i + 1 < rank && i < 2; i++) all_strides[i] = strides[i];
  const CUresult r = reinterpret_cast<Encode>(encode)(
      map, type, rank, const_cast<void*>(base), all_dims, all_strides, box, kSteps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      kSwizzles[static_cast<int>(swizzle)], CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return r == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

// Of a matrix [rows, cols].
inline cudaError_t make_tensor_map_2d(TensorMap* map, const void* base, CUtensorMapDataType type, int64_t rows, int64_t cols,
                                      int64_t row_stride_bytes, uint32_t box_rows, uint32_t box_cols, Swizzle swizzle) {
  const uint64_t dims[] = {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)};
  const uint64_t strides[] = {static_cast<uint64_t>(row_stride_bytes)};
  const uint32_t box[] = {box_cols, box_rows};
  return make_tensor_map(map, base, type, 2, dims, strides, box, swizzle);
}

}  // namespace l3v::cuda
#endif
