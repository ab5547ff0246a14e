// ptx.cu: each instruction of ptx.cuh against its table, and what it must not be done with.
#include "../../cuda/launch.cuh"
#include "../../cuda/ptx.cuh"
#include "testing.h"

namespace testing {
namespace {

using namespace l3v::cuda;

struct Bytes {
  alignas(16) unsigned char at[16384];
};

// ---- mma. ----------------------------------------------------------------------------------

// PTX ISA, "Matrix Fragments for mma.m16n8k16" and "m16n8k8", of 16-bit floats: element i of a thread.
__device__ int a_row(int lane, int i, int k) { return lane / 4 + ((k == 16 ? i < 2 || (i >= 4 && i < 6) : i < 2) ? 0 : 8); }
__device__ int a_column(int lane, int i) { return lane % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0); }
__device__ int b_row(int lane, int i) { return lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0); }
__device__ int c_row(int lane, int i) { return lane / 4 + (i < 2 ? 0 : 8); }
__device__ int c_column(int lane, int i) { return lane % 4 * 2 + (i & 1); }

template <int K, class Type>
__global__ void mma_kernel(const uint16_t* a, const uint16_t* b, float* d, Type type) {
  const int lane = threadIdx.x;
  uint32_t ra[K / 4] = {}, rb[K / 8] = {};
  float rd[4];
  for (int i = 0; i < K / 2; i++) ra[i / 2] |= static_cast<uint32_t>(a[a_row(lane, i, K) * K + a_column(lane, i)]) << i % 2 * 16;
  for (int i = 0; i < K / 4; i++) rb[i / 2] |= static_cast<uint32_t>(b[b_row(lane, i) * 8 + lane / 4]) << i % 2 * 16;
  for (int i = 0; i < 4; i++) rd[i] = d[c_row(lane, i) * 8 + c_column(lane, i)];
  if constexpr (K == 16) mma_m16n8k16(rd, ra, rb, type);
  else mma_m16n8k8(rd, ra, rb[0], type);
  for (int i = 0; i < 4; i++) d[c_row(lane, i) * 8 + c_column(lane, i)] = rd[i];
}

template <int K, class Type>
void mma_case(Type type) {
  const bool bf16 = std::is_same<Type, Bf16>::value;
  const Array<uint16_t> a(numbers16(16 * K, 0, bf16)), b(numbers16(K * 8, 1000, bf16));
  std::vector<float> c(16 * 8);
  for (size_t i = 0; i < c.size(); i++) c[i] = static_cast<float>(i) / 4;
  const Array<float> d(c);
  L3V_LAUNCH((mma_kernel<K, Type>), dim3(1), dim3(32), 0, stream(), a.data(), b.data(), d.data(), type);
  const std::vector<float> got = d.read();
  for (size_t r = 0; r < 16; r++)
    for (size_t n = 0; n < 8; n++) {
      double sum = c[r * 8 + n];
      for (size_t k = 0; k < K; k++) sum += small(r * K + k) * small(1000 + k * 8 + n);
      same("sum", r * 8 + n, got[r * 8 + n], sum, 0);
    }
}
const Add mma16b("mma m16n8k16 bf16", "", [] { mma_case<16>(Bf16()); });
const Add mma16f("mma m16n8k16 f16", "", [] { mma_case<16>(F16()); });
const Add mma8b("mma m16n8k8 bf16", "", [] { mma_case<8>(Bf16()); });
const Add mma8f("mma m16n8k8 f16", "", [] { mma_case<8>(F16()); });

// ---- ldmatrix. -----------------------------------------------------------------------------

constexpr int kRowBytes = 80;  // of a row in shared memory

enum class Ld { kFine, kTrans, kTwo, kTwoTrans, kMisaligned, kUnwritten, kBeyond, kNoBarrier, kDivergent };

// 32 rows of 8 elements, element c of row r is r * 8 + c.
template <Ld kHow>
__global__ void ldmatrix_kernel(uint32_t* out) {
  L3V_SHARED(Bytes, s);
  const int lane = threadIdx.x;
  uint16_t* mine = reinterpret_cast<uint16_t*>(s.at + lane * kRowBytes);
  if (kHow != Ld::kUnwritten || lane != 5)
    for (int c = 0; c < 8; c++) mine[c] = static_cast<uint16_t>(lane * 8 + c);
  if (kHow != Ld::kNoBarrier) __syncwarp();
  // Matrix i of row r is row (i * 8 + r) ^ 1 of memory.
  const unsigned char* row = s.at + (lane ^ 1) * kRowBytes;
  if (kHow == Ld::kMisaligned && lane == 9) row += 8;
  if (kHow == Ld::kBeyond && lane == 31) row = s.at + sizeof s.at;
  uint32_t r[4] = {}, two[2] = {};
  if (kHow == Ld::kTrans) ldmatrix_x4_trans(r, row);
  else if (kHow == Ld::kTwo) ldmatrix_x2(two, row);
  else if (kHow == Ld::kTwoTrans) ldmatrix_x2_trans(two, row);
  else if (kHow != Ld::kDivergent || lane < 16) ldmatrix_x4(r, row);
  if (kHow == Ld::kTwo || kHow == Ld::kTwoTrans) r[0] = two[0], r[1] = two[1];
  for (int i = 0; i < 4; i++) out[i * 32 + lane] = r[i];
}

template <Ld kHow>
void ldmatrix_case() {
  const Array<uint32_t> out(4 * 32);
  L3V_LAUNCH(ldmatrix_kernel<kHow>, dim3(1), dim3(32), sizeof(Bytes), stream(), out.data());
  const std::vector<uint32_t> got = out.read();
  const bool two = kHow == Ld::kTwo || kHow == Ld::kTwoTrans, trans = kHow == Ld::kTrans || kHow == Ld::kTwoTrans;
  for (size_t i = 0; i < (two ? 2 : 4); i++)
    for (size_t lane = 0; lane < 32; lane++)
      for (size_t half = 0; half < 2; half++) {
        size_t row = lane / 4, column = lane % 4 * 2 + half;
        if (trans) std::swap(row, column);
        const size_t want = ((i * 8 + row) ^ 1) * 8 + column;
        same("element", i * 64 + lane * 2 + half, got[i * 32 + lane] >> half * 16 & 0xFFFF, static_cast<double>(want), 0);
      }
}
const Add ld4("ldmatrix x4", "", ldmatrix_case<Ld::kFine>);
const Add ld4t("ldmatrix x4 trans", "", ldmatrix_case<Ld::kTrans>);
const Add ld2("ldmatrix x2", "", ldmatrix_case<Ld::kTwo>);
const Add ld2t("ldmatrix x2 trans", "", ldmatrix_case<Ld::kTwoTrans>);
const Add ld_align("ldmatrix of a misaligned row", "alignment: ldmatrix", ldmatrix_case<Ld::kMisaligned>);
const Add ld_unwritten("ldmatrix of a row nobody wrote", "uninitialised: ldmatrix", ldmatrix_case<Ld::kUnwritten>);
const Add ld_beyond("ldmatrix beyond shared memory", "bounds: ldmatrix", ldmatrix_case<Ld::kBeyond>);
const Add ld_race("ldmatrix with no barrier", "race: ldmatrix", ldmatrix_case<Ld::kNoBarrier>);
const Add ld_divergent("ldmatrix of half a warp", "ldmatrix: thread", ldmatrix_case<Ld::kDivergent>);

// ---- cp.async. -----------------------------------------------------------------------------

enum class Cp { kFine, kNoWait, kNoCommit, kWaitsForFewer, kMisaligned, kBeyondGlobal, kBeyondShared, kNoBarrier, kTwice, kWritten };

// Copies 64 pieces of each size, every third as zeros, in two groups.
template <Cp kHow>
__global__ void copy_kernel(const unsigned char* in, unsigned char* out) {
  L3V_SHARED(Bytes, s);
  const int t = threadIdx.x;
  unsigned char* to = s.at;
  const unsigned char* from = in;
  if (kHow == Cp::kMisaligned && t == 3) to += 8;
  if (kHow == Cp::kBeyondGlobal && t == 62) from += 64 * 28;
  if (kHow == Cp::kBeyondShared && t == 63) to += sizeof s.at;
  cp_async_16(to + t * 16, from + t * 16, t % 3 != 0);
  cp_async_commit();
  if (kHow == Cp::kTwice && t == 7) cp_async_8(s.at + 7 * 16 + 8, in, true);
  cp_async_8(s.at + 1024 + t * 8, in + 1024 + t * 8, t % 3 != 1);
  cp_async_4(s.at + 1536 + t * 4, in + 1536 + t * 4, t % 3 != 2);
  if (kHow != Cp::kNoCommit) cp_async_commit();
  if (kHow == Cp::kWritten && t == 0) s.at[5] = 1;
  if (kHow == Cp::kWaitsForFewer) cp_async_wait<1>();
  else if (kHow != Cp::kNoWait) cp_async_wait<0>();
  if (kHow != Cp::kNoBarrier) __syncthreads();
  const int o = (t + 1) % 64;  // of a neighbour, so that the barrier matters
  for (int i = 0; i < 16; i++) out[o * 16 + i] = s.at[o * 16 + i];
  for (int i = 0; i < 8; i++) out[1024 + o * 8 + i] = s.at[1024 + o * 8 + i];
  for (int i = 0; i < 4; i++) out[1536 + o * 4 + i] = s.at[1536 + o * 4 + i];
}

template <Cp kHow>
void copy_case() {
  std::vector<unsigned char> bytes(64 * 28);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<unsigned char>(i * 7 + 1);
  const Array<unsigned char> in(bytes), out(bytes.size());
  L3V_LAUNCH(copy_kernel<kHow>, dim3(1), dim3(64), sizeof(Bytes), stream(), in.data(), out.data());
  const std::vector<unsigned char> got = out.read();
  for (size_t i = 0; i < bytes.size(); i++) {
    const bool zero = i < 1024 ? i / 16 % 3 == 0 : i < 1536 ? (i - 1024) / 8 % 3 == 1 : (i - 1536) / 4 % 3 == 2;
    same("byte", i, got[i], zero ? 0 : bytes[i], 0);
  }
}
const Add cp_fine("cp.async", "", copy_case<Cp::kFine>);
const Add cp_wait("cp.async with no wait", "race: ", copy_case<Cp::kNoWait>);
const Add cp_commit("cp.async with no commit", "race: ", copy_case<Cp::kNoCommit>);
const Add cp_fewer("cp.async, one group not waited for", "race: ", copy_case<Cp::kWaitsForFewer>);
const Add cp_align("cp.async to a misaligned address", "alignment: cp.async", copy_case<Cp::kMisaligned>);
const Add cp_global("cp.async from beyond an allocation", "bounds: cp.async", copy_case<Cp::kBeyondGlobal>);
const Add cp_shared("cp.async to beyond shared memory", "bounds: cp.async", copy_case<Cp::kBeyondShared>);
const Add cp_barrier("cp.async with no barrier", "race: |uninitialised: ", copy_case<Cp::kNoBarrier>);
const Add cp_twice("two cp.async to one place", "race: cp.async", copy_case<Cp::kTwice>);
const Add cp_written("a store where a cp.async goes", "race: ", copy_case<Cp::kWritten>);

// ---- Numbers. ------------------------------------------------------------------------------

__global__ void pack_kernel(const float* in, uint32_t* out) {
  const int i = threadIdx.x;
  out[i] = pack2(in[2 * i], in[2 * i + 1], Bf16());
  out[32 + i] = pack2(in[2 * i], in[2 * i + 1], F16());
}
const Add pack("pack2 rounds to nearest even", "", [] {
  // 1 and steps of half a unit of either type about it, and what overflows f16.
  std::vector<float> in(64, 0.0f);
  const float values[] = {1.0f, -2.5f, 1 + 0x1p-8f, 1 + 3 * 0x1p-8f, 1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 1 + 0x1.8p-8f, 70000.0f};
  const uint32_t as_bf16[] = {0x3F80, 0xC020, 0x3F80, 0x3F82, 0x3F80, 0x3F80, 0x3F81, 0x4789};
  const uint32_t as_f16[] = {0x3C00, 0xC100, 0x3C04, 0x3C0C, 0x3C00, 0x3C02, 0x3C06, 0x7C00};
  for (size_t i = 0; i < 8; i++) in[i] = values[i];
  const Array<float> values_in(in);
  const Array<uint32_t> out(64);
  L3V_LAUNCH(pack_kernel, dim3(1), dim3(32), 0, stream(), values_in.data(), out.data());
  const std::vector<uint32_t> got = out.read();
  for (size_t i = 0; i < 8; i++) {
    same("bf16", i, got[i / 2] >> i % 2 * 16 & 0xFFFF, as_bf16[i], 0);
    same("f16", i, got[32 + i / 2] >> i % 2 * 16 & 0xFFFF, as_f16[i], 0);
  }
});

// ---- Barriers of a part of the block, and of all. ------------------------------------------------

enum class Part { kFine, kNone, kWrongCount, kNotWarps, kTooFew, kZero, kHalfWarp };

// Warps 0 and 1 write and arrive; warps 2 and 3 wait and read.
template <Part kHow>
__global__ void part_kernel(int* out) {
  L3V_SHARED(Bytes, s);
  int* words = reinterpret_cast<int*>(s.at);
  const int t = threadIdx.x;
  for (int round = 0; round < 3; round++) {
    if (t < 64) {
      words[t] = t + round;
      if (kHow == Part::kWrongCount && t == 40) named_barrier_arrive(1, 96);
      else if (kHow == Part::kNotWarps) named_barrier_arrive(1, 100);
      else if (kHow == Part::kZero) named_barrier_arrive(0, 128);
      else if (kHow == Part::kTooFew && t >= 32) continue;
      else if (kHow == Part::kHalfWarp) named_barrier_arrive(1, t < 16 ? 32 : 128);
      else if (kHow != Part::kNone) named_barrier_arrive(1, 128);
      named_barrier_sync(2, 128);
    } else {
      if (kHow != Part::kNone) named_barrier_sync(1, 128);
      out[round * 64 + t - 64] = words[t - 64];
      named_barrier_sync(2, 128);
    }
  }
}
template <Part kHow>
void part_case() {
  const Array<int> out(3 * 64);
  L3V_LAUNCH(part_kernel<kHow>, dim3(1), dim3(128), sizeof(Bytes), stream(), out.data());
  const std::vector<int> got = out.read();
  for (size_t i = 0; i < got.size(); i++) same("word", i, got[i], static_cast<double>(i % 64 + i / 64), 0);
}
const Add part_fine("named barriers", "", part_case<Part::kFine>);
const Add part_none("a named barrier left out", "race: |uninitialised: ", part_case<Part::kNone>);
const Add part_wrong("a named barrier of two counts", "rule: a named barrier", part_case<Part::kWrongCount>);
const Add part_odd("a named barrier of no whole warps", "rule: a named barrier", part_case<Part::kNotWarps>);
const Add part_few("a named barrier that some do not reach", "deadlock: ", part_case<Part::kTooFew>);
const Add part_zero("named barrier 0", "rule: a named barrier", part_case<Part::kZero>);
const Add part_half("a named barrier of parts of warps", "rule: a named barrier", part_case<Part::kHalfWarp>);

enum class Whole { kFine, kNone, kDivergent, kTwoLines, kEarlyEnd, kAcrossBlocks, kBeyond, kUnwritten, kMisaligned, kShuffle };

template <Whole kHow>
__global__ void whole_kernel(int* out) {
  L3V_SHARED(Bytes, s);
  int* words = reinterpret_cast<int*>(s.at);
  const int t = threadIdx.x;
  if (kHow != Whole::kUnwritten || t != 3) words[t] = t;
  if (kHow == Whole::kEarlyEnd && t == 7) return;
  if (kHow == Whole::kTwoLines && t >= 32) __syncthreads();
  else if (kHow != Whole::kNone && (kHow != Whole::kDivergent || t < 40)) __syncthreads();
  int v = words[63 - t];
  if (kHow == Whole::kMisaligned && t == 1) v += *reinterpret_cast<const volatile int*>(s.at + 2);
  if (kHow != Whole::kShuffle || t != 9) v += __shfl_xor_sync(~0u, v, 1) * 0;
  const int block = kHow == Whole::kAcrossBlocks ? 0 : blockIdx.x;
  out[block * 64 + t + (kHow == Whole::kBeyond && block == 3 && t == 63)] = v;
}
template <Whole kHow>
void whole_case() {
  const Array<int> out(4 * 64);
  L3V_LAUNCH(whole_kernel<kHow>, dim3(4), dim3(64), 256, stream(), out.data());
  const std::vector<int> got = out.read();
  for (size_t i = 0; i < got.size(); i++) same("word", i, got[i], static_cast<double>(63 - i % 64), 0);
}
const Add whole_fine("__syncthreads", "", whole_case<Whole::kFine>);
const Add whole_none("a barrier left out", "race: |uninitialised: ", whole_case<Whole::kNone>);
const Add whole_divergent("a barrier that some threads miss", "divergence: |race: |uninitialised: ", whole_case<Whole::kDivergent>);
const Add whole_lines("a barrier at two places", "divergence: ", whole_case<Whole::kTwoLines>);
const Add whole_end("a thread that ends before a barrier", "divergence: ", whole_case<Whole::kEarlyEnd>);
const Add whole_blocks("two blocks write one place", "race: ", whole_case<Whole::kAcrossBlocks>);
const Add whole_beyond("a store beyond an allocation", "bounds: ", whole_case<Whole::kBeyond>);
const Add whole_unwritten("a read of what nobody wrote", "uninitialised: ", whole_case<Whole::kUnwritten>);
const Add whole_misaligned("a misaligned load", "alignment: ", whole_case<Whole::kMisaligned>);
const Add whole_shuffle("a shuffle that a lane misses", "__shfl_xor_sync: |divergence: ", whole_case<Whole::kShuffle>);

// ---- A product with two buffers, as kernels have it. ---------------------------------------------

enum class Gemm { kFine, kNoWait, kNoBarrier, kNoSecondBarrier, kOneBuffer };

constexpr int kTileM = 64, kTileN = 64, kTileK = 32, kPitch = kTileK + 8;
struct Buffers {
  alignas(16) uint16_t a[2][kTileM][kPitch], b[2][kTileN][kPitch];
};

// c [m, n] = a [m, k] b [n, k]; 4 warps, each 32 by 32 of c; k a multiple of 8.
template <Gemm kHow>
__global__ void gemm_kernel(const uint16_t* a, const uint16_t* b, float* c, int m, int n, int k) {
  L3V_SHARED(Buffers, s);
  const int t = threadIdx.x, lane = t % 32, warp = t / 32, first_m = blockIdx.y * kTileM, first_n = blockIdx.x * kTileN;
  const auto load = [&](int step, int slot) {
    for (int i = t; i < kTileM * kTileK / 8; i += 128) {
      const int row = i / (kTileK / 8), column = i % (kTileK / 8) * 8, at = step * kTileK + column;
      const bool in_a = first_m + row < m && at < k, in_b = first_n + row < n && at < k;
      cp_async_16(&s.a[slot][row][column], in_a ? a + (first_m + row) * k + at : a, in_a);
      cp_async_16(&s.b[slot][row][column], in_b ? b + (first_n + row) * k + at : b, in_b);
    }
    cp_async_commit();
  };
  float sum[2][4][4] = {};
  const int steps = (k + kTileK - 1) / kTileK;
  load(0, 0);
  for (int step = 0; step < steps; step++) {
    const int slot = kHow == Gemm::kOneBuffer ? 0 : step % 2;
    if (step + 1 < steps) load(step + 1, kHow == Gemm::kOneBuffer ? 0 : (step + 1) % 2);
    else cp_async_commit();
    if (kHow != Gemm::kNoWait) cp_async_wait<1>();
    if (kHow != Gemm::kNoBarrier) __syncthreads();
    for (int kk = 0; kk < kTileK; kk += 16) {
      uint32_t fa[2][4], fb[2][4];
      for (int i = 0; i < 2; i++)
        ldmatrix_x4(fa[i], &s.a[slot][warp / 2 * 32 + i * 16 + lane % 16][kk + lane / 16 * 8]);
      for (int j = 0; j < 2; j++)  // 16 columns: two pairs of matrices along k
        ldmatrix_x4(fb[j], &s.b[slot][warp % 2 * 32 + j * 16 + lane % 8 + lane / 16 * 8][kk + lane / 8 % 2 * 8]);
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++) {
          const uint32_t pair[2] = {fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]};
          mma_m16n8k16(sum[i][j], fa[i], pair, Bf16());
        }
    }
    if (kHow != Gemm::kNoSecondBarrier) __syncthreads();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++)
      for (int e = 0; e < 4; e++) {
        const int row = first_m + warp / 2 * 32 + i * 16 + c_row(lane, e), column = first_n + warp % 2 * 32 + j * 8 + c_column(lane, e);
        if (row < m && column < n) c[row * n + column] = sum[i][j][e];
      }
}
template <Gemm kHow>
void gemm_case() {
  const size_t m = 100, n = 72, k = 136;
  const Array<uint16_t> a(numbers16(m * k, 0, true)), b(numbers16(n * k, 5, true));
  const Array<float> c(m * n);
  L3V_LAUNCH(gemm_kernel<kHow>, dim3(2, 2), dim3(128), sizeof(Buffers), stream(), a.data(), b.data(), c.data(),
             static_cast<int>(m), static_cast<int>(n), static_cast<int>(k));
  const std::vector<float> got = c.read();
  for (size_t r = 0; r < m; r++)
    for (size_t o = 0; o < n; o++) {
      double sum = 0;
      for (size_t i = 0; i < k; i++) sum += small(r * k + i) * small(5 + o * k + i);
      same("sum", r * n + o, got[r * n + o], sum, 0);
    }
}
const Add gemm_fine("gemm of mma and cp.async", "", gemm_case<Gemm::kFine>);
const Add gemm_wait("gemm of mma with no wait_group", "race: ldmatrix", gemm_case<Gemm::kNoWait>);
const Add gemm_barrier("gemm of mma with no barrier behind the wait", "race: |uninitialised: ", gemm_case<Gemm::kNoBarrier>);
const Add gemm_second("gemm of mma with no barrier before the next copy", "race: ", gemm_case<Gemm::kNoSecondBarrier>);
const Add gemm_one("gemm of mma with one buffer", "race: ", gemm_case<Gemm::kOneBuffer>);

}  // namespace
}  // namespace testing
