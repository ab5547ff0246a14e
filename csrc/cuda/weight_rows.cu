// weight_rows.cu: rows of block types on their way in: from the file's blocks to planes, in place.
//
// Grid: one block a row. Shared: the row as it came and the row in planes. Threads take 32 values, or a
// block, each, as those share no byte of a plane. Bound by shared memory, two reads and a write a
// value: for 8 billion values some 10 ms of an H100, beside the second that the bus takes.
#include "element.cuh"
#include "weight.h"

namespace l3v::cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
pack_rows_kernel(WeightRows w, char* data, int64_t first) {
  L3V_SHARED(Bytes16, shared);
  Bytes16 *file16 = &shared, *planes16 = file16 + w.row_bytes / 16;
  Bytes16* row16 = reinterpret_cast<Bytes16*>(data + (first + blockIdx.x) * w.row_bytes);
  for (int64_t i = threadIdx.x; i < w.row_bytes / 16; i += kThreads) {
    file16[i] = row16[i];
    planes16[i] = {};
  }
  __syncthreads();
  const char* file = reinterpret_cast<const char*>(file16);
  char* planes = reinterpret_cast<char*>(planes16);
  const Planes p = planes_of(w.dtype);
  const int32_t elements = p.quants * 8 / p.low_bits, block_bytes = p.quants + p.more + p.scales + p.factors;
  for (int64_t k = 32 * static_cast<int64_t>(threadIdx.x); k < w.cols; k += 32 * kThreads) {
    const int64_t block = k / elements;
    const int32_t first = static_cast<int32_t>(k % elements);
    const char* from = file + block * block_bytes;
    for (int32_t i = first; i < first + 32; i++) {
      const Bits f = file_low(w.dtype, i), to = quants_at(w.dtype, i);
      put_bits(planes + block * p.quants, to, get_bits(from, f, p.low_bits));
    }
    for (int32_t i = first; p.more != 0 && i < first + 32; i++) {
      const Bits f = file_more(w.dtype, i), to = more_at(w.dtype, i);
      put_bits(planes + w.more + block * p.more, to, get_bits(from, f, p.more_bits));
    }
  }
  for (int64_t block = threadIdx.x; block < w.cols / elements; block += kThreads) {
    const char* from = file + block * block_bytes;
    for (int32_t i = 0; i < p.scales; i++) planes[w.scales + block * p.scales + i] = from[p.scales_at + i];
    for (int32_t i = 0; i < p.factors; i++) planes[w.factors + block * p.factors + i] = from[p.factors_at + i];
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < w.row_bytes / 16; i += kThreads) row16[i] = planes16[i];
}

}  // namespace

cudaError_t pack_rows(const WeightRows& w, char* data, int64_t first, int64_t rows, cudaStream_t stream) {
  const int64_t shared = 2 * w.row_bytes;
  if (const cudaError_t e = allow_shared(pack_rows_kernel, shared); e != cudaSuccess) return e;
  L3V_LAUNCH(pack_rows_kernel, dim3(static_cast<unsigned>(rows)), dim3(kThreads), static_cast<size_t>(shared), stream, w,
             data, first);
  return cudaGetLastError();
}

}  // namespace l3v::cuda
