// ptx.cuh: one C++ function an instruction of PTX, for sm_80 and up (PTX ISA 9.0, sections "Matrix
// multiply-accumulate", "Asynchronous copy", "Parallel synchronization"). Inline assembly stands
// here and in hopper.cuh alone.
//
// A plain compiler gets the same functions from csrc/emu, where they are checked as they run.
// Those that say warp take all 32 lanes of a warp, together, from one place in the source.
#ifndef L3V_CUDA_PTX_CUH
#define L3V_CUDA_PTX_CUH

#include <cuda_runtime.h>

#include <cstdint>

namespace l3v::cuda {

// Types of the factors of matrix products, as arguments that choose an overload.
struct Bf16 {};
struct F16 {};

}  // namespace l3v::cuda

#if !defined(__CUDACC__)
#include <emulated_ptx.h>
#else

namespace l3v::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// ---- Copies that go on while the thread does. ----------------------------------------------

// 16, 8 or 4 bytes from global to shared memory, both aligned to their count; zeros where not valid
// (global is not read then, yet must be an address). Past L1 the one of 16.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_8(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 8 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_4(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 4 : 0)
               : "memory");
}
// The thread's copies since the last commit are a group.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all but the thread's N newest groups are there. Other threads see them behind a barrier.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// ---- Matrices of a warp. -------------------------------------------------------------------
// g = lane / 4 and t = lane % 4 below; a register holds two elements, the lower index in the low half.

// Warp. Matrices of 8 rows of 16 bytes: lane i gives the address of row i % 8 of matrix i / 8 (of
// x2 those of lanes 16 and up are not used). Register m is row g, columns 2t and 2t+1 of matrix m;
// of the transposed form, rows 2t and 2t+1 of column g.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

// Warp. d += a b, sums in float32; a [16, k] by rows, b [k, 8], d [16, 8]. Of the registers,
//   a[0] row g     columns 2t, 2t+1     a[2] row g    columns 2t+8, 2t+9
//   a[1] row g+8   columns 2t, 2t+1     a[3] row g+8  columns 2t+8, 2t+9
//   b[0] rows 2t, 2t+1 of column g      b[1] rows 2t+8, 2t+9 of column g
//   d[0], d[1] row g, columns 2t, 2t+1  d[2], d[3] row g+8
// and m16n8k8 has a[0], a[1] and one b.
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Bf16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], F16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[2], uint32_t b, Bf16) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[2], uint32_t b, F16) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}

// ---- Numbers. ------------------------------------------------------------------------------

// Both to nearest, ties to even; low in the low half.
__device__ __forceinline__ uint32_t pack2(float low, float high, Bf16) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ __forceinline__ uint32_t pack2(float low, float high, F16) {
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

// 2^x to about 2^-22 of the value; denormals are zero on both sides, 2^-inf is 0.
__device__ __forceinline__ float exp2_approx(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

// ---- Barriers of a part of the block. ------------------------------------------------------

// Barrier id, 1 to 15 (0 is that of __syncthreads), of so many threads, whole warps. Memory of
// before is seen behind it.
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// Counts among the threads and goes on at once.
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("barrier.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace l3v::cuda
#endif
#endif
