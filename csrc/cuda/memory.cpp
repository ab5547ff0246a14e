#include "memory.h"

#include <algorithm>
#include <cstring>

namespace l3v::cuda {

Status failed(cudaError_t e, const char* call) {
  if (e == cudaSuccess) return {};
  cudaGetLastError();  // what is not sticky is told once
  const auto as = [&](l3v_status code) {
    return fail(code, "%s: %s (%s)", call, cudaGetErrorString(e), cudaGetErrorName(e));
  };
  switch (e) {
    case cudaErrorMemoryAllocation: return as(L3V_OUT_OF_MEMORY);
    // The machine or the card cannot: it is not this context's work that failed.
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorNotSupported:
    case cudaErrorNoKernelImageForDevice: return as(L3V_UNSUPPORTED);
    // Refused and forgotten: the card goes on, and this library asked for something wrong.
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorNotReady:
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated: return as(L3V_INTERNAL);
    default: return as(L3V_DEVICE_LOST);
  }
}

Status make_current(int device) { return failed(cudaSetDevice(device), "cudaSetDevice"); }

OwnedStream::~OwnedStream() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}
Status OwnedStream::create() {
  return failed(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

OwnedEvent::~OwnedEvent() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}
Status OwnedEvent::create(unsigned flags) {
  return failed(cudaEventCreateWithFlags(&event_, flags), "cudaEventCreateWithFlags");
}

Pool::~Pool() {
  if (pool_ != nullptr) cudaMemPoolDestroy(pool_);
}

Status Pool::open(int device, cudaStream_t stream, Ledger* ledger) {
  device_ = device;
  stream_ = stream;
  ledger_ = ledger;
  cudaMemPoolProps props{};
  props.allocType = cudaMemAllocationTypePinned;
  props.location.type = cudaMemLocationTypeDevice;
  props.location.id = device;
  L3V_TRY(cudaMemPoolCreate(&pool_, &props));
  uint64_t keep = UINT64_MAX;
  L3V_TRY(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep));
  return {};
}

Status Pool::take(int64_t bytes, const char* what, char** out) {
  L3V_PASS(ledger_->take(bytes, what));
  void* p = nullptr;
  Status s = make_current(device_);
  if (s.ok()) s = failed(cudaMallocFromPoolAsync(&p, static_cast<size_t>(bytes), pool_, stream_), "cudaMallocFromPoolAsync");
  if (!s.ok()) {
    ledger_->give(bytes);
    if (s.code != L3V_OUT_OF_MEMORY) return s;
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
    return fail(L3V_OUT_OF_MEMORY, "%s of %lld bytes, with %zu of the device's %zu bytes free: %s", what,
                static_cast<long long>(bytes), free, total, s.text.c_str());
  }
  *out = static_cast<char*>(p);
  return {};
}

void Pool::give(char* data, int64_t bytes) {
  if (data == nullptr) return;
  cudaSetDevice(device_);
  if (cudaFreeAsync(data, stream_) != cudaSuccess) {
    cudaGetLastError();
    cudaStreamSynchronize(stream_);  // cudaFree does not wait for memory of a pool
    cudaFree(data);
    cudaGetLastError();
  }
  ledger_->give(bytes);
}

Pinned::~Pinned() { cudaFreeHost(data_); }

Status Pinned::create(int64_t bytes, Ledger* ledger) {
  void* p = nullptr;
  L3V_TRY(cudaMallocHost(&p, static_cast<size_t>(bytes)));
  data_ = static_cast<char*>(p);
  bytes_ = bytes;
  ledger->allocations++;
  return {};
}

Status Staging::open(Ledger* ledger) {
  for (OwnedEvent& event : copied_) L3V_PASS(event.create(cudaEventDisableTiming));
  return memory_.create(kSlots * kSlotBytes, ledger);
}

Status Staging::write(char* dst, const void* src, int64_t bytes, cudaStream_t stream) {
  const char* from = static_cast<const char*>(src);
  for (int64_t at = 0; at < bytes; at += kSlotBytes) {
    const size_t n = static_cast<size_t>(std::min(kSlotBytes, bytes - at));
    char* slot = memory_.data() + next_ * kSlotBytes;
    const OwnedEvent& copied = copied_[next_];
    next_ = (next_ + 1) % kSlots;
    L3V_TRY(cudaEventSynchronize(copied));  // the copy from it; at first there is none
    std::memcpy(slot, from + at, n);
    L3V_TRY(cudaMemcpyAsync(dst + at, slot, n, cudaMemcpyHostToDevice, stream));
    L3V_TRY(cudaEventRecord(copied, stream));
  }
  return {};
}

}  // namespace l3v::cuda
