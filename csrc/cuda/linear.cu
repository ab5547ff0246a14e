// linear.cu: out = activation(x W^T + bias) + residual; the kernel is in matmul.cuh.
#include "gemv.h"
#include "matmul.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

struct RowsOfX {
  Matrix x;
  int64_t count;
  bool round;  // to bfloat16 first
  __device__ int64_t rows() const { return count; }
  __device__ int64_t residual_row(int64_t row) const { return row; }
  __device__ float at(int64_t row, int64_t k) const {
    const float v = x.f32(row)[k];
    return round ? round_to_bf16(v) : v;
  }
};

}  // namespace

void linear_cuda(const LinearArgs& a, const Queue& q) {
  if (takes_gemv(a, q.card)) return gemv(a, q);
  matmul(RowsOfX{a.x, a.rows, a.compute == L3V_BF16}, a.rows, a.weight, {a.bias, a.residual, a.out, a.activation}, q);
}

}  // namespace l3v::cuda
