// cache_append.cu: puts the step's keys and values into their places of the paged cache, in the
// cache's type. Grid: one block a row; its first warp finds the row's place. Bound by memory: 16
// bytes a thread where rows are aligned to them and keep their type.
#include "element.cuh"
#include "ops.h"
#include "paged_row.cuh"

namespace l3v::cuda {
namespace {

struct Shared {
  int64_t to;
};

template <class From, class To>
__global__ void __launch_bounds__(kThreads, 4) cache_append_kernel(CacheAppendArgs a, bool aligned, unsigned long long* faults) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    if (threadIdx.x < 32) {
      const int64_t to = place_of(a, row, faults);
      if (threadIdx.x == 0) s.to = to;
    }
    __syncthreads();
    const int64_t to = s.to;
    __syncthreads();
    if (to < 0) continue;
    put_row<From, To>(row_of<const From>(a.k, row), row_of<To>(a.k_cache, to), a.cols, aligned);
    put_row<From, To>(row_of<const From>(a.v, row), row_of<To>(a.v_cache, to), a.cols, aligned);
  }
}

}  // namespace

void cache_append_cuda(const CacheAppendArgs& a, const Queue& q) {
  const bool from_float = a.k.dtype == L3V_F32, to_float = a.k_cache.dtype == L3V_F32;
  const auto cache_append_kernel =
      from_float ? to_float ? cuda::cache_append_kernel<float, float> : cuda::cache_append_kernel<float, Bfloat16>
                 : to_float ? cuda::cache_append_kernel<Bfloat16, float> : cuda::cache_append_kernel<Bfloat16, Bfloat16>;
  L3V_LAUNCH(cache_append_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, a, copies_together(a), q.faults);
}

}  // namespace l3v::cuda
