// queue.h: what the host side hands an op's launcher.
#ifndef L3V_CUDA_QUEUE_H
#define L3V_CUDA_QUEUE_H

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/backend.h"

namespace l3v::cuda {

// Where an op's kernels go, and where they note faults: one word for each kind the op can find, in
// the order of its line in device.cpp.
struct Queue {
  cudaStream_t stream;
  unsigned long long* faults;
};

// A fault is its index over its value, so that the least word is the one to report: the lowest
// index, and of it the lowest value, whatever the order in which blocks run.
constexpr unsigned long long kNoFault = ~0ull;

}  // namespace l3v::cuda
#endif
