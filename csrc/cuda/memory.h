// memory.h: a context's memory on the device, and the pinned host memory that goes to and fro.
//
// Device memory comes from a pool of the context's own, in the order of its stream: taking and giving
// back wait for nothing, while cudaMalloc and cudaFree stop every stream of the card, those of other
// contexts too. An arena of one size would need the size before the first weight is read, and a hole
// that a short-lived buffer leaves in it would stay one. The pool keeps what is given back until the
// context ends, as models take the same sizes again.
//
// The ledger counts what was asked for. Pinned memory is the host's: it counts as an allocation, not
// in bytes.
#ifndef L3V_CUDA_MEMORY_H
#define L3V_CUDA_MEMORY_H

#include <cuda_runtime.h>

#include "../common/backend.h"

namespace l3v::cuda {

// Makes a device the calling thread's, as that state is per thread.
Status make_current(int device);
// A failed call as a status, in the driver's words.
Status failed(cudaError_t e, const char* call);

// For functions that return a Status.
#define L3V_TRY(call)                                                   \
  do {                                                                  \
    if (Status s = failed(call, #call); !s.ok()) return s;              \
  } while (false)
#define L3V_PASS(status)                       \
  do {                                         \
    if (Status s = (status); !s.ok()) return s; \
  } while (false)

class OwnedStream {
 public:
  OwnedStream() = default;
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  ~OwnedStream();
  Status create();
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class OwnedEvent {
 public:
  OwnedEvent() = default;
  OwnedEvent(const OwnedEvent&) = delete;
  OwnedEvent& operator=(const OwnedEvent&) = delete;
  ~OwnedEvent();
  Status create(unsigned flags);
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();
  // stream outlives the pool.
  Status open(int device, cudaStream_t stream, Ledger* ledger);
  // Memory for what is put on the stream from now on. what: names it in a text.
  Status take(int64_t bytes, const char* what, char** out);
  // Gives it back behind what is on the stream.
  void give(char* data, int64_t bytes);

 private:
  int device_ = 0;
  cudaStream_t stream_ = nullptr;
  Ledger* ledger_ = nullptr;
  cudaMemPool_t pool_ = nullptr;
};

class Pinned {
 public:
  Pinned() = default;
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned();
  Status create(int64_t bytes, Ledger* ledger);
  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Copies to the device through a ring of pinned slots, so that the caller has its memory back, and
// reads the next rows, while the copy runs. A copy from pageable memory would block until it is done.
class Staging {
 public:
  Status open(Ledger* ledger);
  Status write(char* dst, const void* src, int64_t bytes, cudaStream_t stream);

 private:
  static constexpr int kSlots = 4;
  // Long enough that a copy's start costs little beside it (40 microseconds over PCIe 5), short
  // enough that filling the first does not leave the bus idle for long.
  static constexpr int64_t kSlotBytes = 2 << 20;
  Pinned memory_;
  OwnedEvent copied_[kSlots];
  int next_ = 0;
};

}  // namespace l3v::cuda
#endif
