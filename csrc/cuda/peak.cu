// peak.cu: the loops of l3v_measure_peak: what the card does at most, to hold kernels against.
//
// Reads: each block goes through one chunk a pass, of 16 bytes a load and four loads under way a thread,
// and takes the chunk of the next block in the next pass, so that none finds its own in its L1.
// Grid: 8 blocks a multiprocessor, all its threads.
//
// Products: independent chains of multiply-adds on values that are in registers, or for wgmma in
// shared memory, from the start: fma of float32, mma.sync of 16-bit types, wgmma m64n256k16 where
// the forms are sm_90's. Factors are of both signs and all mantissas, as the clock that the card's
// power allows depends on the bits that change. Grid: as many blocks as a multiprocessor holds.
#include "element.cuh"
#include "hopper.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

constexpr int kReadBlocks = 8, kChains = 16, kProductBlocks = 4, kWide = 256;
constexpr int kDepth = 64;  // of a tile in shared memory: rows of 128 bytes

// A pseudo-random factor in [-1, 1).
__device__ inline float factor(uint32_t seed) {
  seed = (seed ^ 61u ^ (seed >> 16)) * 9u;
  seed = (seed ^ (seed >> 4)) * 0x27d4eb2du;
  seed ^= seed >> 15;
  return static_cast<float>(seed >> 8) * (1.0f / (1 << 23)) - 1.0f;
}

// Never true, which the compiler does not know: keeps what came out alive.
__device__ inline bool keep(float sum) { return sum == 12345.678f; }

__global__ void __launch_bounds__(kThreads) peak_read_kernel(const Bytes16* data, int64_t chunk, int64_t passes, uint32_t* sink) {
  uint32_t all = 0;
  for (int64_t pass = 0; pass < passes; pass++) {
    const Bytes16* from = data + (blockIdx.x + pass) % gridDim.x * chunk;
    int64_t i = threadIdx.x;
    for (; i + 3 * kThreads < chunk; i += 4 * kThreads) {
      const Bytes16 a = from[i], b = from[i + kThreads], c = from[i + 2 * kThreads], d = from[i + 3 * kThreads];
      for (int w = 0; w < 4; w++) all ^= a.words[w] ^ b.words[w] ^ c.words[w] ^ d.words[w];
    }
    for (; i < chunk; i += kThreads)
      for (int w = 0; w < 4; w++) all ^= from[i].words[w];
  }
  if (all == 0x600dcafeu) *sink = all;  // memory is zeros
}

__global__ void __launch_bounds__(kThreads) peak_fma_kernel(int64_t rounds, uint32_t* sink) {
  float sums[kChains] = {};
  const float a = factor(threadIdx.x), b = factor(threadIdx.x + kThreads);
  for (int64_t round = 0; round < rounds; round++)
    for (int i = 0; i < kChains; i++) sums[i] = fmaf(sums[i], a, b);
  float all = 0;
  for (int i = 0; i < kChains; i++) all += sums[i];
  if (keep(all)) *sink = 1;
}

template <class Half>
__global__ void __launch_bounds__(kThreads) peak_mma_kernel(int64_t rounds, uint32_t* sink) {
  float sums[kChains / 2][4] = {};
  uint32_t a[4], b[2];
  for (uint32_t i = 0; i < 4; i++) a[i] = pack2(factor(threadIdx.x * 16 + i), factor(threadIdx.x * 16 + i + 4), Half());
  for (uint32_t i = 0; i < 2; i++) b[i] = pack2(factor(threadIdx.x * 16 + i + 8), factor(threadIdx.x * 16 + i + 12), Half());
  for (int64_t round = 0; round < rounds; round++)
    for (int i = 0; i < kChains / 2; i++) mma_m16n8k16(sums[i], a, b, Half());
  float all = 0;
  for (int i = 0; i < kChains / 2; i++) all += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
  if (keep(all)) *sink = 1;
}

struct alignas(1024) Tiles {
  uint32_t a[64 * kDepth / 2], b[kWide * kDepth / 2];
};

template <class Half>
__global__ void __launch_bounds__(kThreads) peak_wgmma_kernel(int64_t rounds, uint32_t* sink) {
  L3V_SHARED(Tiles, s);
  for (uint32_t i = threadIdx.x; i < 64 * kDepth / 2; i += kThreads) s.a[i] = pack2(factor(2 * i), factor(2 * i + 1), Half());
  for (uint32_t i = threadIdx.x; i < kWide * kDepth / 2; i += kThreads) s.b[i] = pack2(factor(~(2 * i)), factor(~(2 * i + 1)), Half());
  fence_async_shared();
  __syncthreads();
  float sums[kWide / 2] = {};
  wgmma_registers(sums);
  wgmma_fence();
  for (int64_t round = 0; round < rounds; round++) {
    for (int k = 0; k < kDepth; k += 16)
      wgmma<kWide>(sums, shared_descriptor(reinterpret_cast<const char*>(s.a) + 2 * k, 0, 1024, Swizzle::k128),
                   shared_descriptor(reinterpret_cast<const char*>(s.b) + 2 * k, 0, 1024, Swizzle::k128), true, Half());
    wgmma_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  wgmma_registers(sums);
  float all = 0;
  for (int i = 0; i < kWide / 2; i++) all += sums[i];
  if (keep(all)) *sink = 1;
}

template <class Half>
double launch_products(int64_t rounds, uint32_t* sink, const Queue& q) {
  if (q.card.forms == Forms::kSm90) {
    const auto peak_wgmma_kernel = cuda::peak_wgmma_kernel<Half>;
    if (const cudaError_t e = allow_shared(peak_wgmma_kernel, sizeof(Tiles)); e != cudaSuccess) {
      *q.failure = e;
      return 0;
    }
    const int blocks = q.card.multiprocessors;  // 128 sums a thread: a multiprocessor holds one
    L3V_LAUNCH(peak_wgmma_kernel, dim3(blocks), dim3(kThreads), sizeof(Tiles), q.stream, rounds, sink);
    return 2.0 * 64 * kWide * kDepth * (kThreads / 128) * blocks * static_cast<double>(rounds);
  }
  const auto peak_mma_kernel = cuda::peak_mma_kernel<Half>;
  const int blocks = q.card.multiprocessors * kProductBlocks;
  L3V_LAUNCH(peak_mma_kernel, dim3(blocks), dim3(kThreads), 0, q.stream, rounds, sink);
  return 2.0 * 16 * 8 * 16 * (kChains / 2) * (kThreads / 32) * blocks * static_cast<double>(rounds);
}

}  // namespace

double peak_products_cuda(int32_t dtype, int64_t rounds, char* sink, const Queue& q) {
  uint32_t* const word = reinterpret_cast<uint32_t*>(sink);
  if (dtype == L3V_BF16) return launch_products<Bf16>(rounds, word, q);
  if (dtype == L3V_F16) return launch_products<F16>(rounds, word, q);
  const int blocks = q.card.multiprocessors * kReadBlocks;
  L3V_LAUNCH(peak_fma_kernel, dim3(blocks), dim3(kThreads), 0, q.stream, rounds, word);
  return 2.0 * kChains * kThreads * blocks * static_cast<double>(rounds);
}

double peak_read_cuda(const char* data, int64_t bytes, int64_t rounds, char* sink, const Queue& q) {
  const int64_t pieces = bytes / 16, most = int64_t{q.card.multiprocessors} * kReadBlocks;
  const int64_t blocks = pieces < most ? pieces : most;
  L3V_LAUNCH(peak_read_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, q.stream,
             reinterpret_cast<const Bytes16*>(data), pieces / blocks, rounds, reinterpret_cast<uint32_t*>(sink));
  return 16.0 * static_cast<double>(pieces / blocks * blocks) * static_cast<double>(rounds);
}

}  // namespace l3v::cuda
