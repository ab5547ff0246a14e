// matmul.cuh: out = activation(x W^T + bias) + residual, as one plain kernel whatever x is.
//
// Grid: one block for kTile rows and kTile outputs. Threads: 16 x 16, each with 4 x 4 sums in
// registers. Shared: kStep columns of both sides as floats, the rows one float apart from a power
// of two. Each output is one chain of fma over k, as on the CPU.
// Bound by shared memory: 8 loads for 16 fma.
#ifndef L3V_CUDA_MATMUL_CUH
#define L3V_CUDA_MATMUL_CUH

#include "epilogue.cuh"
#include "weight.cuh"

namespace l3v::cuda {

constexpr int kTile = 64, kStep = 16, kSide = 16, kEach = kTile / kSide;

struct MatmulShared {
  float x[kTile][kStep + 1], w[kTile][kStep + 1];
};

// An activation as the products of a compute type see it.
__device__ inline float rounded(float f, int32_t compute) {
  return compute == L3V_BF16 ? round_to_bf16(f) : compute == L3V_F16 ? round_to_f16(f) : f;
}

// X: rows(), and at(row, k).
template <class X>
__global__ void __launch_bounds__(kSide* kSide) matmul_kernel(X x, WeightRows w, Epilogue e) {
  L3V_SHARED(MatmulShared, s);
  const int tx = threadIdx.x % kSide, ty = threadIdx.x / kSide;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTile, first_out = static_cast<int64_t>(blockIdx.y) * kTile;
  float sum[kEach][kEach] = {};
  for (int64_t k0 = 0; k0 < w.cols; k0 += kStep) {
    for (int i = threadIdx.x; i < kTile * kStep; i += kSide * kSide) {
      const int r = i / kStep, c = i % kStep;
      const bool inside = k0 + c < w.cols;
      s.x[r][c] = inside && first_row + r < x.rows() ? x.at(first_row + r, k0 + c) : 0.0f;
      s.w[r][c] = inside && first_out + r < w.rows ? weight_at(w, first_out + r, k0 + c) : 0.0f;
    }
    __syncthreads();
    const int steps = w.cols - k0 < kStep ? static_cast<int>(w.cols - k0) : kStep;
    for (int c = 0; c < steps; c++) {
      float xs[kEach], ws[kEach];
      for (int i = 0; i < kEach; i++) xs[i] = s.x[ty + i * kSide][c];
      for (int j = 0; j < kEach; j++) ws[j] = s.w[tx + j * kSide][c];
      for (int i = 0; i < kEach; i++)
        for (int j = 0; j < kEach; j++) sum[i][j] = fmaf(xs[i], ws[j], sum[i][j]);
    }
    __syncthreads();
  }
  for (int i = 0; i < kEach; i++) {
    for (int j = 0; j < kEach; j++) {
      const int64_t row = first_row + ty + i * kSide, out = first_out + tx + j * kSide;
      if (row >= x.rows() || out >= w.rows) continue;
      store(e.out, row, out, e.value(sum[i][j], row, out));
    }
  }
}

template <class X>
void matmul(const X& x, int64_t rows, const Weight* weight, const Epilogue& e, const Queue& q) {
  const WeightRows w = rows_of(weight);
  const dim3 grid(static_cast<unsigned>(divide_up(rows, kTile)), static_cast<unsigned>(divide_up(w.rows, kTile)));
  L3V_LAUNCH(matmul_kernel<X>, grid, dim3(kSide * kSide), sizeof(MatmulShared), q.stream, x, w, e);
}

}  // namespace l3v::cuda
#endif
