// emulated_hopper.h: csrc/cuda/hopper.cuh on the emulator. What each function means stands there.
#ifndef L3V_EMU_EMULATED_HOPPER_H
#define L3V_EMU_EMULATED_HOPPER_H

#include <cuda.h>
#include <cuda_runtime.h>

namespace emu::cuda {

// hopper.cpp, which is not instrumented.
void mbarrier_init(uint64_t* b, uint32_t arrivals, Site site);
void mbarrier_fence_init(Site site);
void mbarrier_arrive(uint64_t* b, uint32_t bytes, Site site);
void mbarrier_wait(uint64_t* b, uint32_t parity, Site site);
void fence_async_shared(Site site);

void tma_load(void* shared, const CUtensorMap* map, unsigned rank, const int* at, uint64_t* b, Site site);
void tma_store(const CUtensorMap* map, const void* shared, unsigned rank, const int* at, Site site);
void tma_store_commit(Site site);
void tma_store_wait(unsigned newest, bool read_only, Site site);
void prefetch_tensor_map(const CUtensorMap* map, Site site);

// Of a [64, 16] by [16, n]; a is in registers unless null, then desc_a says where.
void wgmma(float* d, const uint32_t* a, uint64_t desc_a, uint64_t desc_b, unsigned n, bool accumulate, bool rows_of_n,
           bool bf16, Site site);
void wgmma_fence(Site site);
void wgmma_commit(Site site);
void wgmma_wait(unsigned newest, Site site);
uint64_t shared_descriptor(const void* tile, uint32_t leading, uint32_t stride, unsigned layout);
void setmaxnreg(int registers, bool more, Site site);

}  // namespace emu::cuda

namespace l3v::cuda {

inline void mbarrier_init(Barrier* b, uint32_t arrivals, EMU_SITE) { emu::cuda::mbarrier_init(&b->state, arrivals, EMU_HERE); }
inline void mbarrier_fence_init(EMU_SITE) { emu::cuda::mbarrier_fence_init(EMU_HERE); }
inline void mbarrier_arrive(Barrier* b, EMU_SITE) { emu::cuda::mbarrier_arrive(&b->state, 0, EMU_HERE); }
inline void mbarrier_arrive_expect(Barrier* b, uint32_t bytes, EMU_SITE) {
  emu::cuda::mbarrier_arrive(&b->state, bytes, EMU_HERE);
}
inline void mbarrier_wait(Barrier* b, uint32_t parity, EMU_SITE) { emu::cuda::mbarrier_wait(&b->state, parity, EMU_HERE); }
inline void fence_async_shared(EMU_SITE) { emu::cuda::fence_async_shared(EMU_HERE); }

inline void prefetch_tensor_map(const TensorMap* map, EMU_SITE) { emu::cuda::prefetch_tensor_map(map, EMU_HERE); }
EMU_PLAIN inline void tma_load_2d(void* shared, const TensorMap* map, int x, int y, Barrier* b, EMU_SITE) {
  const int at[] = {x, y};
  emu::cuda::tma_load(shared, map, 2, at, &b->state, EMU_HERE);
}
EMU_PLAIN inline void tma_load_3d(void* shared, const TensorMap* map, int x, int y, int z, Barrier* b, EMU_SITE) {
  const int at[] = {x, y, z};
  emu::cuda::tma_load(shared, map, 3, at, &b->state, EMU_HERE);
}
EMU_PLAIN inline void tma_store_2d(const TensorMap* map, const void* shared, int x, int y, EMU_SITE) {
  const int at[] = {x, y};
  emu::cuda::tma_store(map, shared, 2, at, EMU_HERE);
}
EMU_PLAIN inline void tma_store_3d(const TensorMap* map, const void* shared, int x, int y, int z, EMU_SITE) {
  const int at[] = {x, y, z};
  emu::cuda::tma_store(map, shared, 3, at, EMU_HERE);
}
inline void tma_store_commit(EMU_SITE) { emu::cuda::tma_store_commit(EMU_HERE); }
template <int N>
void tma_store_wait_read(EMU_SITE) {
  emu::cuda::tma_store_wait(N, true, EMU_HERE);
}
template <int N>
void tma_store_wait(EMU_SITE) {
  emu::cuda::tma_store_wait(N, false, EMU_HERE);
}

inline void wgmma_fence(EMU_SITE) { emu::cuda::wgmma_fence(EMU_HERE); }
inline void wgmma_commit(EMU_SITE) { emu::cuda::wgmma_commit(EMU_HERE); }
template <int N>
void wgmma_wait(EMU_SITE) {
  emu::cuda::wgmma_wait(N, EMU_HERE);
}
template <class T, int N>
void wgmma_registers(T (&)[N]) {}

// The numbers of the modes in a descriptor.
inline uint64_t shared_descriptor(const void* tile, uint32_t leading, uint32_t stride, Swizzle swizzle) {
  return emu::cuda::shared_descriptor(tile, leading, stride,
                                      swizzle == Swizzle::k128 ? 1 : swizzle == Swizzle::k64 ? 2 : swizzle == Swizzle::k32 ? 3 : 0);
}

constexpr bool wgmma_has(int n) {
  return n == 8 || n == 16 || n == 24 || n == 32 || n == 40 || n == 48 || n == 64 || n == 72 || n == 80 || n == 96 ||
         n == 128 || n == 192 || n == 256;
}
template <int N, Rows kRows = Rows::kOfK, class Type>
void wgmma(float (&d)[N / 2], uint64_t desc_a, uint64_t desc_b, bool accumulate, Type, EMU_SITE) {
  static_assert(wgmma_has(N), "a wgmma of this N has no line in hopper.cuh");
  emu::cuda::wgmma(d, nullptr, desc_a, desc_b, N, accumulate, kRows == Rows::kOfN, std::is_same<Type, Bf16>::value, EMU_HERE);
}
template <int N, Rows kRows = Rows::kOfK, class Type>
void wgmma_ra(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t desc_b, bool accumulate, Type, EMU_SITE) {
  static_assert(wgmma_has(N), "a wgmma of this N has no line in hopper.cuh");
  emu::cuda::wgmma(d, a, 0, desc_b, N, accumulate, kRows == Rows::kOfN, std::is_same<Type, Bf16>::value, EMU_HERE);
}

template <int N>
void setmaxnreg_inc(EMU_SITE) {
  static_assert(N % 8 == 0 && N >= 24 && N <= 256, "what setmaxnreg takes");
  emu::cuda::setmaxnreg(N, true, EMU_HERE);
}
template <int N>
void setmaxnreg_dec(EMU_SITE) {
  static_assert(N % 8 == 0 && N >= 24 && N <= 256, "what setmaxnreg takes");
  emu::cuda::setmaxnreg(N, false, EMU_HERE);
}

}  // namespace l3v::cuda
#endif
