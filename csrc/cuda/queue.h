// queue.h: what the host side hands an op's launcher.
#ifndef L3V_CUDA_QUEUE_H
#define L3V_CUDA_QUEUE_H

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/backend.h"
#include "forms.h"

namespace l3v::cuda {

// What the choice of a kernel depends on besides its arguments.
struct Card {
  int32_t multiprocessors;
  int32_t shared_bytes;  // the most that a block may ask for
  Forms forms;
  bool batch_invariant;  // a row's bits do not depend on what else is in the call
};

// Where an op's kernels go, and where they note faults: one word for each kind the op can find, in
// the order of its line in device.cpp. scratch: as many bytes as the op's <op>_scratch said (ops.h),
// its own until its last kernel ends. failure: where a launcher says why it launched nothing; what the
// runtime itself remembers (cudaGetLastError) it need not repeat.
struct Queue {
  cudaStream_t stream;
  unsigned long long* faults;
  char* scratch;
  const Card& card;
  cudaError_t* failure;
};

// A fault is its index over its value, so that the least word is the one to report: the lowest
// index, and of it the lowest value, whatever the order in which blocks run.
constexpr unsigned long long kNoFault = ~0ull;

}  // namespace l3v::cuda
#endif
