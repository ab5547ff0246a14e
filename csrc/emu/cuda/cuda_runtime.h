// cuda_runtime.h: stands in for the CUDA toolkit's header of this name where kernels run on the
// emulator. It has what csrc/cuda uses and nothing else; names and meanings are the CUDA runtime's
// (CUDA Runtime API and CUDA C++ Programming Guide, 13.0).
#ifndef L3V_EMU_CUDA_RUNTIME_H
#define L3V_EMU_CUDA_RUNTIME_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "../core.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

using dim3 = emu::Dim3;

// The emulator's own code, which a header has to hold, is not checked.
#define EMU_PLAIN __attribute__((no_sanitize("thread", "alignment")))

namespace emu::cuda {
EMU_PLAIN inline Dim3 thread_index() { return place().thread; }
EMU_PLAIN inline Dim3 block_index() { return place().block; }
EMU_PLAIN inline Dim3 block_size() { return place().threads; }
EMU_PLAIN inline Dim3 grid_size() { return place().blocks; }
}  // namespace emu::cuda
#define threadIdx (::emu::cuda::thread_index())
#define blockIdx (::emu::cuda::block_index())
#define blockDim (::emu::cuda::block_size())
#define gridDim (::emu::cuda::grid_size())

inline void __syncthreads(EMU_SITE) { emu::barrier(EMU_HERE); }
inline void __syncwarp(unsigned mask = ~0u, EMU_SITE) {
  emu::collective("__syncwarp", mask, nullptr, nullptr, nullptr, nullptr, true, EMU_HERE);
}

namespace emu::cuda {

enum class Shuffle { kIndex, kUp, kDown, kXor };
struct ShuffleArgument {
  Shuffle how;
  size_t bytes;
};
struct ShuffleIn {
  const void* value;
  int at, width;
};
void shuffle(Lane* const lanes[kLanes], const void* argument);  // runtime.cpp

template <class T>
EMU_PLAIN T shuffle(const char* name, Shuffle how, unsigned mask, T value, int at, int width, Site site) {
  static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8), "what a shuffle takes");
  const ShuffleArgument argument{how, sizeof(T)};
  const ShuffleIn in{&value, at, width};
  T out{};
  collective(name, mask, &in, &out, shuffle, &argument, false, site);
  return out;
}

void ballot(Lane* const lanes[kLanes], const void* argument);  // runtime.cpp

}  // namespace emu::cuda

template <class T>
T __shfl_sync(unsigned mask, T v, int lane, int width = 32, EMU_SITE) {
  return emu::cuda::shuffle("__shfl_sync", emu::cuda::Shuffle::kIndex, mask, v, lane, width, EMU_HERE);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, EMU_SITE) {
  return emu::cuda::shuffle("__shfl_up_sync", emu::cuda::Shuffle::kUp, mask, v, static_cast<int>(delta), width, EMU_HERE);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, EMU_SITE) {
  return emu::cuda::shuffle("__shfl_down_sync", emu::cuda::Shuffle::kDown, mask, v, static_cast<int>(delta), width, EMU_HERE);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32, EMU_SITE) {
  return emu::cuda::shuffle("__shfl_xor_sync", emu::cuda::Shuffle::kXor, mask, v, lanes, width, EMU_HERE);
}
EMU_PLAIN inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_SITE) {
  unsigned out = 0;
  emu::collective("__ballot_sync", mask, &predicate, &out, emu::cuda::ballot, nullptr, false, EMU_HERE);
  return out;
}

EMU_PLAIN inline unsigned long long atomicMin(unsigned long long* p, unsigned long long v) {
  emu::access(p, sizeof *p, true, true, __builtin_return_address(0));
  const unsigned long long old = *p;
  if (v < old) *p = v;
  return old;
}
EMU_PLAIN inline int atomicAdd(int* p, int v) {
  emu::access(p, sizeof *p, true, true, __builtin_return_address(0));
  const int old = *p;
  *p = old + v;
  return old;
}

using std::isfinite;
using std::isnan;
inline int __ffs(int v) { return __builtin_ffs(v); }
// Byte i of the result is byte (s >> 4i) % 8 of low and, behind it, high.
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned s) {
  const uint64_t all = uint64_t{high} << 32 | low;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) r |= static_cast<unsigned>(all >> (s >> 4 * i & 7) * 8 & 255) << 8 * i;
  return r;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }

// ---- The runtime. --------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchOutOfResources = 701,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaDeviceAttr {
  cudaDevAttrClockRate = 13,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaDriverEntryPointQueryResult {
  cudaDriverEntryPointSuccess = 0,
  cudaDriverEntryPointSymbolNotFound = 1,
};
constexpr unsigned long long cudaEnableDefault = 0;
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor, multiProcessorCount;
  size_t sharedMemPerBlockOptin;
};

namespace emu::cuda {
struct Stream;
struct Event;
struct Work;
struct Pool;
}  // namespace emu::cuda
using cudaMemPool_t = emu::cuda::Pool*;
enum cudaMemAllocationType { cudaMemAllocationTypePinned = 1 };
enum cudaMemLocationType { cudaMemLocationTypeDevice = 1 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
struct cudaMemLocation {
  cudaMemLocationType type;
  int id;
};
struct cudaMemPoolProps {
  cudaMemAllocationType allocType;
  cudaMemLocation location;
};
using cudaStream_t = emu::cuda::Stream*;
using cudaEvent_t = emu::cuda::Event*;
using cudaGraph_t = emu::cuda::Work*;
using cudaGraphExec_t = emu::cuda::Work*;

cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaGetLastError();
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
template <class... Args>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Args...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
const char* cudaGetErrorName(cudaError_t e);
const char* cudaGetErrorString(cudaError_t e);

// Of the driver's functions it has cuTensorMapEncodeTiled.
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned version, unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* found);

cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);
cudaError_t cudaMallocHost(void** p, size_t bytes);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* props);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool);
cudaError_t cudaMallocFromPoolAsync(void** p, size_t bytes, cudaMemPool_t pool, cudaStream_t s);
cudaError_t cudaFreeAsync(void* p, cudaStream_t s);
cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void* dst, int value, size_t bytes, cudaStream_t s);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* out, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph);

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

namespace emu::cuda {
// kernel<<<grid, block, shared, stream>>>(...), its arguments bound in body.
void launch(const void* kernel, const char* name, Dim3 grid, Dim3 block, size_t shared, cudaStream_t s,
            std::function<void()> body);
}  // namespace emu::cuda

#endif
