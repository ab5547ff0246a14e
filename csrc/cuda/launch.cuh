// launch.cuh: what every op's file begins with: how a kernel is launched, its shared memory, the
// order of sums in a block, and how it notes a fault.
//
// The same text compiles with nvcc, and with a plain C++ compiler over csrc/emu, which runs it on a
// CPU. Kernels are launched by L3V_LAUNCH and take shared memory by L3V_SHARED alone.
//
// These are the plain forms: one chain of sums an output, one block a row. They are right at any
// size, they are what faster forms are held against, and they keep the CPU's order of sums where it
// says one (linear), so that float32 products are its bits.
#ifndef L3V_CUDA_LAUNCH_CUH
#define L3V_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>

#include "queue.h"

#if defined(__CUDACC__)
#define L3V_LAUNCH(kernel, grid, threads, shared, stream, ...) \
  (kernel)<<<(grid), (threads), (shared), (stream)>>>(__VA_ARGS__)
#define L3V_SHARED(type, name)                                       \
  extern __shared__ __align__(1024) unsigned char l3v_shared_bytes[]; \
  type& name = *reinterpret_cast<type*>(l3v_shared_bytes)
#else
#define L3V_LAUNCH(kernel, grid, threads, shared, stream, ...) \
  ::emu::cuda::launch(reinterpret_cast<const void*>(kernel), #kernel, (grid), (threads), (shared), (stream), \
                      [=] { (kernel)(__VA_ARGS__); })
#define L3V_SHARED(type, name) type& name = *reinterpret_cast<type*>(::emu::shared_memory())
#endif

namespace l3v::cuda {

constexpr int kThreads = 256;  // of a block that works on a row

// Blocks for n pieces of work; kernels stride over what is more. An H100 holds 1,056 blocks of
// kThreads at once; on the emulator a few rows have to show that striding is right.
#if defined(L3V_EMULATED)
constexpr int64_t kMaxBlocks = 8;
#else
constexpr int64_t kMaxBlocks = 2048;
#endif
inline dim3 blocks_for(int64_t n) { return dim3(static_cast<unsigned>(n < kMaxBlocks ? n : kMaxBlocks)); }
inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Before a launch with so much shared memory, of which a kernel has 48 KiB unasked.
template <class Kernel>
cudaError_t allow_shared(Kernel* kernel, int64_t bytes) {
  if (bytes <= 48 << 10) return cudaSuccess;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

__device__ inline void note_fault(unsigned long long* word, int64_t index, int64_t value) {
  const uint32_t low = static_cast<uint32_t>(static_cast<int32_t>(value)) ^ 0x80000000u;
  atomicMin(word, static_cast<unsigned long long>(index) << 32 | low);
}

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const { return a + b; }
};
struct Max {
  __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};

struct Least {
  __device__ int32_t operator()(int32_t a, int32_t b) const { return a < b ? a : b; }
};

// Floats in order as unsigned integers. Both zeros are one.
__device__ inline uint32_t ordered_bits(float f) {
  const float value = f + 0.0f;  // -0 is 0
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// v of all threads of the block (kThreads) put together in one fixed order, a tree over lanes and
// then over warps; every thread gets the result. scratch: one T a warp. Behind it scratch is free.
template <class T, class Combine>
__device__ T block_reduce(T v, T* scratch, Combine combine) {
  for (int lanes = 16; lanes > 0; lanes /= 2) v = combine(v, __shfl_xor_sync(~0u, v, lanes));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
  __syncthreads();
  T all = scratch[0];
  for (int w = 1; w < kThreads / 32; w++) all = combine(all, scratch[w]);
  __syncthreads();
  return all;
}

}  // namespace l3v::cuda
#endif
