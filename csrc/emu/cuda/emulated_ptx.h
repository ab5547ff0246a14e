// emulated_ptx.h: csrc/cuda/ptx.cuh on the emulator. What each function means stands there.
#ifndef L3V_EMU_EMULATED_PTX_H
#define L3V_EMU_EMULATED_PTX_H

#include <cuda_runtime.h>

namespace emu::cuda {

// ptx.cpp, which is not instrumented.
void cp_async(void* shared, const void* global, unsigned bytes, bool valid, Site site);
void cp_async_commit(Site site);
void cp_async_wait(unsigned newest, Site site);
void ldmatrix(uint32_t* r, unsigned matrices, bool transposed, const void* row, Site site);
void mma(float* d, const uint32_t* a, const uint32_t* b, unsigned k, bool bf16, Site site);
void named_barrier(int id, int threads, bool wait, Site site);

}  // namespace emu::cuda

namespace l3v::cuda {

inline void cp_async_16(void* shared, const void* global, bool valid, EMU_SITE) {
  emu::cuda::cp_async(shared, global, 16, valid, EMU_HERE);
}
inline void cp_async_8(void* shared, const void* global, bool valid, EMU_SITE) {
  emu::cuda::cp_async(shared, global, 8, valid, EMU_HERE);
}
inline void cp_async_4(void* shared, const void* global, bool valid, EMU_SITE) {
  emu::cuda::cp_async(shared, global, 4, valid, EMU_HERE);
}
inline void cp_async_commit(EMU_SITE) { emu::cuda::cp_async_commit(EMU_HERE); }
template <int N>
void cp_async_wait(EMU_SITE) {
  emu::cuda::cp_async_wait(N, EMU_HERE);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void* row, EMU_SITE) { emu::cuda::ldmatrix(r, 4, false, row, EMU_HERE); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, EMU_SITE) {
  emu::cuda::ldmatrix(r, 4, true, row, EMU_HERE);
}
inline void ldmatrix_x2(uint32_t (&r)[2], const void* row, EMU_SITE) { emu::cuda::ldmatrix(r, 2, false, row, EMU_HERE); }
inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row, EMU_SITE) {
  emu::cuda::ldmatrix(r, 2, true, row, EMU_HERE);
}

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Bf16, EMU_SITE) {
  emu::cuda::mma(d, a, b, 16, true, EMU_HERE);
}
inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], F16, EMU_SITE) {
  emu::cuda::mma(d, a, b, 16, false, EMU_HERE);
}
inline void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[2], uint32_t b, Bf16, EMU_SITE) {
  emu::cuda::mma(d, a, &b, 8, true, EMU_HERE);
}
inline void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[2], uint32_t b, F16, EMU_SITE) {
  emu::cuda::mma(d, a, &b, 8, false, EMU_HERE);
}

uint32_t pack2(float low, float high, Bf16);
uint32_t pack2(float low, float high, F16);
float exp2_approx(float x);

inline void named_barrier_sync(int id, int threads, EMU_SITE) { emu::cuda::named_barrier(id, threads, true, EMU_HERE); }
inline void named_barrier_arrive(int id, int threads, EMU_SITE) {
  emu::cuda::named_barrier(id, threads, false, EMU_HERE);
}

}  // namespace l3v::cuda
#endif
