// activation.cuh: the activations (csrc/cpu/mathx.h has them in the same form).
#ifndef L3V_CUDA_ACTIVATION_CUH
#define L3V_CUDA_ACTIVATION_CUH

#include "launch.cuh"

namespace l3v::cuda {

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ inline float silu(float x) { return x * sigmoid(x); }

__device__ inline float activate(float x, int32_t activation) {
  // sqrt(2/pi), doubled: tanh u = 2 sigmoid(2u) - 1, and x sigmoid(2u) does not cancel.
  constexpr float kGelu1 = 1.5957691216057308f, kGelu3 = kGelu1 * 0.044715f;
  if (activation == L3V_ACT_NONE) return x;
  if (activation == L3V_ACT_GELU_ERF) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  // One call of the others' sigmoid, as kernels have it many times over.
  float of = x;
  if (activation == L3V_ACT_GELU_TANH) of = x * (kGelu1 + kGelu3 * x * x);
  if (activation == L3V_ACT_GELU_QUICK) of = 1.702f * x;
  return x * sigmoid(of);
}

}  // namespace l3v::cuda
#endif
