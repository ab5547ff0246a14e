// runtime.cpp: the CUDA runtime's functions over the emulator. What is put on a stream runs as late
// as it legally may: when something waits for it. So a host that reads too early, or frees too
// early, shows.
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tensor_map.h"

namespace emu::cuda {

struct Stream {
  std::deque<std::function<void()>> queue;
  std::set<void*> freeing;  // what waits in queue to be released
  Work* capturing = nullptr;
};
struct Pool {
  uint64_t release_threshold = 0;  // kept, and no matter here: memory is released when it is freed
};
struct Event {
  Stream* stream = nullptr;  // where its newest record waits, null once it has run
  bool recorded = false;
  double seconds = 0;
};
struct Work {
  std::vector<std::function<void()>> items;
};

namespace {

constexpr int kVersion = 13000;
constexpr size_t kMemory = size_t{8} << 30;
constexpr size_t kUnasked = 48 << 10;  // of shared memory

struct Runtime {
  std::recursive_mutex lock;
  std::map<const char*, size_t> host;  // pinned blocks
  cudaError_t lost = cudaSuccess;  // a fault of a kernel: the device does nothing more
  cudaError_t last = cudaSuccess;
  std::string lost_text;
  std::map<const void*, size_t> shared;  // what kernels may ask for, beyond kUnasked
  size_t objects = 0;
  int major = 9, multiprocessors = 6;  // few, so that grids of a small test are more than one wave
  int shared_bytes() const { return (major >= 9 ? 227 : 163) << 10; }  // the most that a block may have
  std::map<std::string, std::pair<int, cudaError_t>> faults;  // calls until it fails, and with what
  int64_t calls = 0;                                          // that could have failed
};
Runtime r;

using Guard = std::lock_guard<std::recursive_mutex>;

// Whether a call of this name is to fail now (see l3v_emu_fail).
bool injected(const char* call, cudaError_t* e) {
  r.calls++;
  auto it = r.faults.find(call);
  if (it == r.faults.end()) it = r.faults.find("*");
  if (it == r.faults.end() || --it->second.first > 0) return false;
  *e = it->second.second;
  r.faults.erase(it);
  if (*e == cudaErrorLaunchFailure || *e == cudaErrorIllegalAddress) {
    r.lost = *e;
    r.lost_text = "injected";
  }
  r.last = *e;
  return true;
}

cudaError_t result(cudaError_t e) {
  if (e != cudaSuccess) r.last = e;
  return e;
}

#define EMU_CALL(name)                             \
  Guard guard(r.lock);                             \
  if (r.lost != cudaSuccess) return r.lost;        \
  if (cudaError_t e; injected(name, &e)) return e

void put(Stream* s, std::function<void()> item) {
  if (s->capturing != nullptr) s->capturing->items.push_back(std::move(item));
  else s->queue.push_back(std::move(item));
}

// Runs the stream's first item. False: there is none, or the device is lost.
bool step(Stream* s) {
  if (s->queue.empty() || r.lost != cudaSuccess) return false;
  const std::function<void()> item = std::move(s->queue.front());
  s->queue.pop_front();
  try {
    item();
  } catch (const Error& e) {
    r.lost = r.last = cudaErrorLaunchFailure;
    r.lost_text = e.what();
  }
  return true;
}

cudaError_t drain(Stream* s) {
  while (step(s)) {
  }
  return r.lost;
}

}  // namespace

void launch(const void* kernel, const char* name, Dim3 grid, Dim3 block, size_t shared, Stream* s,
            std::function<void()> body) {
  Guard guard(r.lock);
  cudaError_t e;
  if (r.lost != cudaSuccess || injected("launch", &e)) return;
  if (block.count() > kMaxThreads || block.count() == 0 || grid.count() == 0 || grid.y > 65535 || grid.z > 65535 ||
      shared > std::max(kUnasked, r.shared[kernel])) {
    r.last = cudaErrorInvalidValue;
    return;
  }
  put(s, [=] { emu::run({name, grid, block, shared, body}); });
}

void shuffle(Lane* const lanes[kLanes], const void* argument) {
  const ShuffleArgument& a = *static_cast<const ShuffleArgument*>(argument);
  for (int l = 0; l < static_cast<int>(kLanes); l++) {
    if (lanes[l] == nullptr) continue;
    const ShuffleIn& in = *static_cast<const ShuffleIn*>(lanes[l]->in);
    const int first = l / in.width * in.width, end = first + in.width;
    int from = l;
    switch (a.how) {
      case Shuffle::kIndex: from = first + (in.at & (in.width - 1)); break;
      case Shuffle::kUp: from = l - in.at < first ? l : l - in.at; break;
      case Shuffle::kDown: from = l + in.at >= end ? l : l + in.at; break;
      case Shuffle::kXor: from = (l ^ in.at) >= end ? l : l ^ in.at; break;
    }
    if (lanes[from] == nullptr)
      fail("a shuffle reads lane " + std::to_string(from) + ", which is not in the mask", lanes[l]->site);
    std::memcpy(lanes[l]->out, static_cast<const ShuffleIn*>(lanes[from]->in)->value, a.bytes);
  }
}

void ballot(Lane* const lanes[kLanes], const void*) {
  unsigned bits = 0;
  for (unsigned l = 0; l < kLanes; l++)
    if (lanes[l] != nullptr && *static_cast<const int*>(lanes[l]->in) != 0) bits |= 1u << l;
  for (unsigned l = 0; l < kLanes; l++)
    if (lanes[l] != nullptr) *static_cast<unsigned*>(lanes[l]->out) = bits;
}

}  // namespace emu::cuda

using namespace emu::cuda;

cudaError_t cudaDriverGetVersion(int* version) {
  EMU_CALL("cudaDriverGetVersion");
  *version = kVersion;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  EMU_CALL("cudaGetDeviceCount");
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  EMU_CALL("cudaGetDeviceProperties");
  if (device != 0) return result(cudaErrorInvalidDevice);
  *p = {"emulator", kMemory, r.major, 0, r.multiprocessors, static_cast<size_t>(r.shared_bytes())};
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned version, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  EMU_CALL("cudaGetDriverEntryPointByVersion");
  const bool known = std::strcmp(name, "cuTensorMapEncodeTiled") == 0 && version >= 12000 && r.major >= 9;
  *function = known ? reinterpret_cast<void*>(encode_tiled) : nullptr;
  *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  EMU_CALL("cudaDeviceGetAttribute");
  if (device != 0) return result(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrClockRate: *value = 1000000; break;  // kHz
    case cudaDevAttrMultiProcessorCount: *value = r.multiprocessors; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (r.major >= 9 ? 227 : 163) << 10; break;
  }
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  EMU_CALL("cudaSetDevice");
  return device == 0 ? cudaSuccess : result(cudaErrorInvalidDevice);
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  EMU_CALL("cudaMemGetInfo");
  *total = kMemory;
  *free = kMemory - emu::allocated();
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  Guard guard(r.lock);
  const cudaError_t e = r.lost != cudaSuccess ? r.lost : r.last;
  r.last = cudaSuccess;
  return e;
}
const char* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorNoKernelImageForDevice: return "cudaErrorNoKernelImageForDevice";
    case cudaErrorLaunchOutOfResources: return "cudaErrorLaunchOutOfResources";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
  }
  return "cudaErrorUnknown";
}
const char* cudaGetErrorString(cudaError_t e) {
  Guard guard(r.lock);
  return e == cudaErrorLaunchFailure && !r.lost_text.empty() ? r.lost_text.c_str() : cudaGetErrorName(e);
}

cudaError_t cudaMalloc(void** p, size_t bytes) {
  EMU_CALL("cudaMalloc");
  if (bytes > kMemory - emu::allocated()) return result(cudaErrorMemoryAllocation);
  *p = emu::allocate(bytes);
  return *p != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* p) {
  Guard guard(r.lock);  // also of a lost device: what was taken is given back
  if (p == nullptr) return cudaSuccess;
  return emu::release(p) ? cudaSuccess : result(cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void** p, size_t bytes) {
  EMU_CALL("cudaMallocHost");
  *p = std::malloc(bytes);
  if (*p == nullptr) return result(cudaErrorMemoryAllocation);
  r.host[static_cast<char*>(*p)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) {
  Guard guard(r.lock);
  if (p == nullptr) return cudaSuccess;
  if (r.host.erase(static_cast<char*>(p)) == 0) return result(cudaErrorInvalidValue);
  std::free(p);
  return cudaSuccess;
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* props) {
  EMU_CALL("cudaMemPoolCreate");
  if (props->allocType != cudaMemAllocationTypePinned || props->location.type != cudaMemLocationTypeDevice ||
      props->location.id != 0)
    return result(cudaErrorInvalidValue);
  *pool = new Pool;
  r.objects++;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  EMU_CALL("cudaMemPoolSetAttribute");
  if (attribute != cudaMemPoolAttrReleaseThreshold) return result(cudaErrorInvalidValue);
  pool->release_threshold = *static_cast<uint64_t*>(value);
  return cudaSuccess;
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  Guard guard(r.lock);
  delete pool;
  r.objects--;
  return cudaSuccess;
}
cudaError_t cudaMallocFromPoolAsync(void** p, size_t bytes, cudaMemPool_t, cudaStream_t s) {
  EMU_CALL("cudaMallocFromPoolAsync");
  if (s->capturing != nullptr) return result(cudaErrorStreamCaptureUnsupported);
  if (bytes > kMemory - emu::allocated()) return result(cudaErrorMemoryAllocation);
  *p = emu::allocate(bytes);
  return *p != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
// Released when the stream gets there; of a lost device, which gets nowhere, at once.
cudaError_t cudaFreeAsync(void* p, cudaStream_t s) {
  Guard guard(r.lock);
  if (cudaError_t e; r.lost == cudaSuccess && injected("cudaFreeAsync", &e)) return e;
  if (r.lost != cudaSuccess) return emu::release(p) ? r.lost : cudaErrorInvalidValue;
  if (s->capturing != nullptr || !emu::contains(p, 1) || !s->freeing.insert(p).second) return result(cudaErrorInvalidValue);
  put(s, [=] {
    s->freeing.erase(p);
    emu::release(p);
  });
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s) {
  EMU_CALL("cudaMemcpyAsync");
  const bool to_device = kind != cudaMemcpyDeviceToHost, from_device = kind != cudaMemcpyHostToDevice;
  if ((to_device && !emu::contains(dst, bytes)) || (from_device && !emu::contains(src, bytes)))
    return result(cudaErrorInvalidValue);
  const auto pinned = [](const void* p) {
    auto it = r.host.upper_bound(static_cast<const char*>(p));
    return it != r.host.begin() && static_cast<const char*>(p) < std::prev(it)->first + std::prev(it)->second;
  };
  const auto copy = [=](const void* from) {
    if ((to_device && !emu::contains(dst, bytes)) || (from_device && !emu::contains(src, bytes)))
      throw emu::Error("a copy of " + std::to_string(bytes) + " bytes runs after its memory was freed");
    std::memmove(dst, from, bytes);
    if (to_device) emu::written(dst, bytes);
  };
  if (kind == cudaMemcpyHostToDevice && !pinned(src) && s->capturing == nullptr) {
    // Pageable memory is read before the call returns.
    auto kept = std::make_shared<std::vector<char>>(static_cast<const char*>(src), static_cast<const char*>(src) + bytes);
    put(s, [=] { copy(kept->data()); });
    return cudaSuccess;
  }
  put(s, [=] { copy(src); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* dst, int value, size_t bytes, cudaStream_t s) {
  EMU_CALL("cudaMemsetAsync");
  if (!emu::contains(dst, bytes)) return result(cudaErrorInvalidValue);
  put(s, [=] {
    if (!emu::contains(dst, bytes)) throw emu::Error("a fill of memory that was freed");
    std::memset(dst, value, bytes);
    emu::written(dst, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  EMU_CALL("cudaStreamCreateWithFlags");
  *s = new Stream;
  r.objects++;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  Guard guard(r.lock);
  drain(s);
  for (void* p : s->freeing) emu::release(p);  // of a device that was lost before it got there
  delete s;
  r.objects--;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  EMU_CALL("cudaStreamSynchronize");
  if (s->capturing != nullptr) return result(cudaErrorStreamCaptureUnsupported);
  return drain(s);
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  EMU_CALL("cudaStreamBeginCapture");
  s->capturing = new Work;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* graph) {
  Guard guard(r.lock);
  std::unique_ptr<Work> captured(s->capturing);  // over in any case
  s->capturing = nullptr;
  *graph = nullptr;
  if (r.lost != cudaSuccess) return r.lost;
  if (cudaError_t e; injected("cudaStreamEndCapture", &e)) return e;
  *graph = captured.release();
  r.objects++;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* out, cudaGraph_t graph, unsigned long long) {
  EMU_CALL("cudaGraphInstantiate");
  *out = new Work(*graph);
  r.objects++;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t s) {
  EMU_CALL("cudaGraphLaunch");
  for (const auto& item : graph->items) put(s, item);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  Guard guard(r.lock);
  delete graph;
  r.objects--;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return cudaGraphDestroy(graph); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  EMU_CALL("cudaEventCreateWithFlags");
  *e = new Event;
  r.objects++;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
  Guard guard(r.lock);
  if (e->stream != nullptr) drain(e->stream);  // its record points at it
  delete e;
  r.objects--;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  EMU_CALL("cudaEventRecord");
  e->stream = s;
  e->recorded = true;
  put(s, [=] {
    e->stream = nullptr;
    e->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  });
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  EMU_CALL("cudaFuncSetAttribute");
  if (value < 0 || value > r.shared_bytes()) return result(cudaErrorInvalidValue);
  r.shared[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  EMU_CALL("cudaEventSynchronize");
  while (e->stream != nullptr && step(e->stream)) {
  }
  return r.lost;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  EMU_CALL("cudaEventElapsedTime");
  if (!start->recorded || !end->recorded) return result(cudaErrorInvalidValue);
  if (start->stream != nullptr || end->stream != nullptr) return result(cudaErrorNotReady);
  *milliseconds = static_cast<float>((end->seconds - start->seconds) * 1e3);
  return cudaSuccess;
}

// ---- For tests: found with dlsym, in the emulated library alone. ---------------------------

#define L3V_EMU extern "C" __attribute__((visibility("default")))

// Order 0 forward, 1 reverse, 2 random, 3 warps.
L3V_EMU void l3v_emu_configure(int32_t order, uint64_t seed, int32_t check) {
  Guard guard(r.lock);
  emu::options = {static_cast<emu::Order>(order), seed, check != 0};
}
// What the card says of itself from now on: compute capability 8.0 or 9.0.
L3V_EMU void l3v_emu_card(int32_t major, int32_t multiprocessors) {
  Guard guard(r.lock);
  r.major = major;
  r.multiprocessors = multiprocessors;
}
// How often the kernel was launched and run.
L3V_EMU int64_t l3v_emu_launches(const char* kernel) {
  Guard guard(r.lock);
  return emu::launches(kernel);
}
// The nth next call of this name ("cudaMalloc", "launch", or "*" for any) fails with a cudaError_t.
L3V_EMU void l3v_emu_fail(const char* call, int32_t nth, int32_t error) {
  Guard guard(r.lock);
  r.faults[call] = {nth, static_cast<cudaError_t>(error)};
}
// A new device: forgets faults, lost devices included.
L3V_EMU void l3v_emu_reset() {
  Guard guard(r.lock);
  r.lost = r.last = cudaSuccess;
  r.lost_text.clear();
  r.faults.clear();
  r.calls = 0;
}
// Calls since then that could have failed.
L3V_EMU int64_t l3v_emu_calls() {
  Guard guard(r.lock);
  return r.calls;
}
// What is alive: bytes on the device, and streams, graphs and events.
L3V_EMU void l3v_emu_alive(int64_t* bytes, int64_t* objects) {
  Guard guard(r.lock);
  *bytes = static_cast<int64_t>(emu::allocated());
  *objects = static_cast<int64_t>(r.objects + r.host.size());
}
