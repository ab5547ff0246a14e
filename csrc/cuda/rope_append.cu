// rope_append.cu: rope and the cache_append of the keys that it turned, in one kernel: the heads of a
// row are turned in place, then its keys and values go into the cache while they are near. It saves
// the second launch and the second read of the keys from memory; the bits are those of the two ops.
// Grid: one block a row. Bound by memory.
#include "paged_row.cuh"
#include "rotate.cuh"

namespace l3v::cuda {
namespace {

struct Shared {
  Turns turns;
  int64_t to;
};

// faults: rope's word, then those of cache_append.
template <class T, class To>
__global__ void __launch_bounds__(kThreads) rope_append_kernel(RopeArgs r, CacheAppendArgs a, bool aligned,
                                                               unsigned long long* faults) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    if (threadIdx.x < 32) {
      const int64_t to = place_of(a, row, faults + 1);
      if (threadIdx.x == 0) s.to = to;
    }
    rotate_row<T>(r, row, s.turns, faults);
    const int64_t to = s.to;
    __syncthreads();
    if (to < 0) continue;
    put_row<T, To>(row_of<const T>(a.k, row), row_of<To>(a.k_cache, to), a.cols, aligned);
    put_row<T, To>(row_of<const T>(a.v, row), row_of<To>(a.v_cache, to), a.cols, aligned);
  }
}

}  // namespace

bool rope_append_fits(const RopeArgs& r, const CacheAppendArgs& a) {
  const int64_t size = r.x.dtype == L3V_F32 ? 4 : 2, first = (a.k.data - r.x.data) / size;
  return r.rows == a.rows && r.x.dtype == a.k.dtype && (r.x.stride == a.k.stride || r.rows == 1) && a.k.data >= r.x.data &&
         first + a.cols <= static_cast<int64_t>(r.heads) * r.head_dim;
}

void rope_append_cuda(const RopeArgs& r, const CacheAppendArgs& a, const Queue& q) {
  const bool from_float = r.x.dtype == L3V_F32, to_float = a.k_cache.dtype == L3V_F32;
  const auto rope_append_kernel =
      from_float ? to_float ? cuda::rope_append_kernel<float, float> : cuda::rope_append_kernel<float, Bfloat16>
                 : to_float ? cuda::rope_append_kernel<Bfloat16, float> : cuda::rope_append_kernel<Bfloat16, Bfloat16>;
  L3V_LAUNCH(rope_append_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, r, a, copies_together(a), q.faults);
}

}  // namespace l3v::cuda
