// copy_rows.cu: out[out_index[i]] = x[x_index[i]]: gather, scatter or copy of rows of any type, in
// pieces of 16 bytes where all rows consist of them. Grid: one block a row. Bound by memory.
#include "element.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

// Row i of one side: index[i], or i without an index; -1 where the row is skipped.
__device__ int64_t resolve(const Matrix& index, int64_t i, int64_t rows, unsigned long long* fault) {
  const int64_t row = index ? *index.i32(i) : i;
  if (row >= 0 && row < rows) return row;
  if (row != -1) note_fault(fault, i, row);
  return -1;
}

template <class T>
__global__ void __launch_bounds__(kThreads) copy_rows_kernel(CopyRowsArgs a, unsigned long long* fault) {
  for (int64_t i = blockIdx.x; i < a.rows; i += gridDim.x) {
    const int64_t from = resolve(a.x_index, i, a.x_rows, fault);
    if (from < 0) continue;
    const int64_t to = resolve(a.out_index, i, a.out_rows, fault);
    if (to < 0) continue;
    const T* x = reinterpret_cast<const T*>(a.x.data) + from * a.x.stride;
    T* out = reinterpret_cast<T*>(a.out.data) + to * a.out.stride;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) out[c] = x[c];
  }
}

}  // namespace

void copy_rows_cuda(const CopyRowsArgs& a, const Queue& q) {
  const int64_t size = a.x.dtype == L3V_U8 || a.x.dtype == L3V_I8 ? 1 : a.x.dtype == L3V_F16 || a.x.dtype == L3V_BF16 ? 2 : 4;
  const auto pieces = [&](const Matrix& m) {
    return reinterpret_cast<uintptr_t>(m.data) % 16 == 0 && m.stride * size % 16 == 0 && a.cols * size % 16 == 0;
  };
  if (pieces(a.x) && pieces(a.out)) {
    CopyRowsArgs whole = a;
    whole.cols = a.cols * size / 16;
    whole.x.stride = a.x.stride * size / 16;
    whole.out.stride = a.out.stride * size / 16;
    const auto copy_rows_kernel = cuda::copy_rows_kernel<Bytes16>;
    L3V_LAUNCH(copy_rows_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, whole, q.faults);
    return;
  }
  const auto copy_rows_kernel = size == 1 ? cuda::copy_rows_kernel<uint8_t>
                                          : size == 2 ? cuda::copy_rows_kernel<uint16_t> : cuda::copy_rows_kernel<uint32_t>;
  L3V_LAUNCH(copy_rows_kernel, blocks_for(a.rows), dim3(kThreads), 0, q.stream, a, q.faults);
}

}  // namespace l3v::cuda
