// hopper.cu: each instruction of hopper.cuh against what its tables say, what it must not be done
// with, and a product in a ring of TMA and WGMMA, as kernels have it.
#include "../../cuda/hopper.cuh"
#include "../../cuda/launch.cuh"
#include "testing.h"

namespace testing {
namespace {

using namespace l3v::cuda;

int width_of(Swizzle s) { return s == Swizzle::k128 ? 128 : s == Swizzle::k64 ? 64 : s == Swizzle::k32 ? 32 : 0; }

// Where byte b of row r stands in a tile of rows of so many bytes, by the sentence at Swizzle.
__host__ __device__ int place(int r, int b, Swizzle swizzle, int row_bytes) {
  int piece = b / 16;
  if (swizzle == Swizzle::k128) piece ^= r % 8;
  if (swizzle == Swizzle::k64) piece ^= r / 2 % 4;
  if (swizzle == Swizzle::k32) piece ^= r / 4 % 2;
  return r * row_bytes + piece * 16 + b % 16;
}

// ---- Loads and stores of TMA. --------------------------------------------------------------

struct Tile {
  Barrier full;
  alignas(1024) unsigned char at[16384];
};

enum class Tma {
  kFine, kNoWait, kTooFewBytes, kTooManyBytes, kWrongParity, kNoFenceInit, kNoBarrier, kMisaligned, kBeyond, kLeftAlone,
  kNoBarrierThere, kWrittenBefore, kStoreNoFence, kStoreNoWait, kStoreUnwritten, kStoreOverwritten, kNoCommit, kPlainOnBarrier
};

// Copies the box at (x, y, z) of in, by way of shared memory, to the same place of out; and the tile
// as it lay in shared memory to seen.
template <Tma kHow>
__global__ void tma_kernel(const __grid_constant__ TensorMap in, const __grid_constant__ TensorMap out, int rank, int x, int y, int z,
                           int bytes, unsigned char* seen) {
  L3V_SHARED(Tile, s);
  const int t = threadIdx.x;
  unsigned char* tile = s.at;
  if (kHow == Tma::kMisaligned) tile += 64;
  if (kHow == Tma::kBeyond) tile += 15 * 1024;
  if (t == 0) {
    prefetch_tensor_map(&in);
    if (kHow != Tma::kNoBarrierThere) mbarrier_init(&s.full, 1);
    if (kHow != Tma::kNoFenceInit) mbarrier_fence_init();
  }
  if (kHow == Tma::kWrittenBefore && t < 64) tile[t * 16] = 1;  // and no fence
  if (kHow != Tma::kNoBarrier) __syncthreads();
  if (t == 32) {
    const int expect = kHow == Tma::kTooFewBytes ? bytes - 64 : kHow == Tma::kTooManyBytes ? bytes + 64 : bytes;
    mbarrier_arrive_expect(&s.full, static_cast<uint32_t>(expect));
    if (rank == 2) tma_load_2d(tile, &in, x, y, &s.full);
    else tma_load_3d(tile, &in, x, y, z, &s.full);
    if (kHow == Tma::kTooFewBytes) {  // the phase ends with a part
      if (rank == 2) tma_load_2d(s.at + 8192, &in, x, y, &s.full);
      else tma_load_3d(s.at + 8192, &in, x, y, z, &s.full);
    }
  }
  if (kHow == Tma::kLeftAlone) return;
  if (kHow == Tma::kPlainOnBarrier && t == 5) s.full.state = 0;
  if (kHow != Tma::kNoWait) mbarrier_wait(&s.full, kHow == Tma::kWrongParity);
  for (int i = t; i < bytes; i += 64) seen[i] = tile[i];
  __syncthreads();
  for (int i = t; i < bytes; i += 64)
    if (kHow != Tma::kStoreUnwritten) tile[i] = static_cast<unsigned char>(tile[i] ^ 0x80);
  if (kHow != Tma::kStoreNoFence) fence_async_shared();
  __syncthreads();
  if (t == 0) {
    const unsigned char* from = kHow == Tma::kStoreUnwritten ? s.at + 8192 : tile;
    if (rank == 2) tma_store_2d(&out, from, x, y);
    else tma_store_3d(&out, from, x, y, z);
    if (kHow == Tma::kStoreOverwritten) tile[bytes / 2 + 64] = 0;
    if (kHow != Tma::kNoCommit) tma_store_commit();
    if (kHow != Tma::kStoreNoWait) tma_store_wait<0>();
  }
}

struct Box {
  Swizzle swizzle;
  int rank, x, y, z, columns;  // of 2 bytes, a row of the box
};

template <Tma kHow>
void tma_case(const Box& box) {
  const int cols = 100, rows = 20, planes = 3, pitch = 104, box_rows = 16;  // pitch: elements from row to row
  const std::vector<uint16_t> values = [&] {
    std::vector<uint16_t> all(static_cast<size_t>(pitch * rows * planes));
    for (size_t i = 0; i < all.size(); i++) all[i] = static_cast<uint16_t>(i + 1);
    return all;
  }();
  const Array<uint16_t> in(values), out(std::vector<uint16_t>(values.size(), 7));
  TensorMap maps[2];
  const uint16_t* bases[] = {in.data(), out.data()};
  const int box_z = box.rank == 3 ? 2 : 1;
  for (int i = 0; i < 2; i++) {
    const uint64_t dims[] = {cols, rows, planes}, strides[] = {pitch * 2, static_cast<uint64_t>(pitch * 2 * rows)};
    const uint32_t sizes[] = {static_cast<uint32_t>(box.columns), box_rows, static_cast<uint32_t>(box_z)};
    check(make_tensor_map(&maps[i], bases[i], CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<uint32_t>(box.rank), dims, strides, sizes, box.swizzle));
  }
  const int bytes = box.columns * 2 * box_rows * box_z;
  const Array<unsigned char> seen(static_cast<size_t>(bytes));
  const TensorMap map_in = maps[0], map_out = maps[1];
  const auto [swizzle, rank, x, y, z, columns] = box;
  const struct {
    int rank, x, y, z;
  } b{rank, x, y, z};
  L3V_LAUNCH(tma_kernel<kHow>, dim3(1), dim3(64), sizeof(Tile), stream(), map_in, map_out, b.rank, b.x, b.y, b.z, bytes, seen.data());
  const std::vector<unsigned char> got = seen.read();
  const std::vector<uint16_t> stored = out.read();
  std::vector<uint16_t> want(values.size(), 7);
  for (int zz = 0; zz < box_z; zz++)
    for (int r = 0; r < box_rows; r++)
      for (int c = 0; c < columns; c++) {
        const bool inside = x + c >= 0 && x + c < cols && y + r >= 0 && y + r < rows && z + zz >= 0 && z + zz < planes;
        const size_t from = static_cast<size_t>(((z + zz) * rows + y + r) * pitch + x + c);
        const uint16_t v = inside ? values[from] : 0;
        const size_t at = static_cast<size_t>(place(zz * box_rows + r, c * 2, swizzle, columns * 2));
        same("element", at, got[at] | got[at + 1] << 8, v, 0);
        if (inside) want[from] = v ^ 0x8080;
      }
  for (size_t i = 0; i < want.size(); i++) same("stored", i, stored[i], want[i], 0);
}

const Add tma128("TMA, swizzle of 128", "", [] { tma_case<Tma::kFine>({Swizzle::k128, 2, 64, 8, 0, 64}); });
const Add tma64("TMA, swizzle of 64", "", [] { tma_case<Tma::kFine>({Swizzle::k64, 2, 32, 4, 0, 32}); });
const Add tma32("TMA, swizzle of 32", "", [] { tma_case<Tma::kFine>({Swizzle::k32, 2, 96, 0, 0, 16}); });
const Add tma_none("TMA, no swizzle", "", [] { tma_case<Tma::kFine>({Swizzle::kNone, 2, 0, 0, 0, 72}); });
const Add tma_before("TMA from before the tensor", "", [] { tma_case<Tma::kFine>({Swizzle::k128, 2, -5, -3, 0, 64}); });
const Add tma_outside("TMA outside the tensor", "", [] { tma_case<Tma::kFine>({Swizzle::k128, 2, 200, 50, 0, 64}); });
const Add tma_3d("TMA of three dimensions", "", [] { tma_case<Tma::kFine>({Swizzle::k128, 3, 40, 10, 2, 64}); });
template <Tma kHow>
void tma_fault() { tma_case<kHow>({Swizzle::k128, 2, 0, 0, 0, 64}); }
const Add tma_wait("TMA tile read before the wait", "race: |uninitialised: ", tma_fault<Tma::kNoWait>);
const Add tma_few("TMA with too few bytes expected", "rule: TMA load|deadlock: |race: ", tma_fault<Tma::kTooFewBytes>);
const Add tma_many("TMA with too many bytes expected", "deadlock: ", tma_fault<Tma::kTooManyBytes>);
const Add tma_parity("TMA tile, wrong parity", "race: |uninitialised: |proxy: |deadlock: ", tma_fault<Tma::kWrongParity>);
const Add tma_init("a barrier with no fence behind its making", "proxy: TMA load", tma_fault<Tma::kNoFenceInit>);
const Add tma_barrier("a barrier used with no __syncthreads behind its making", "race: |uninitialised: ", tma_fault<Tma::kNoBarrier>);
const Add tma_align("TMA to a misaligned tile", "alignment: TMA load", tma_fault<Tma::kMisaligned>);
const Add tma_beyond("TMA to beyond shared memory", "bounds: TMA load", tma_fault<Tma::kBeyond>);
const Add tma_left("TMA that nobody waits for", "rule: the block ends", tma_fault<Tma::kLeftAlone>);
const Add tma_no_barrier("TMA to no barrier", "uninitialised: ", tma_fault<Tma::kNoBarrierThere>);
const Add tma_earlier("TMA over a store with no fence", "proxy: TMA load", tma_fault<Tma::kWrittenBefore>);
const Add store_fence("TMA store with no fence", "proxy: TMA store", tma_fault<Tma::kStoreNoFence>);
const Add store_wait("TMA store nobody waits for", "rule: the block ends", tma_fault<Tma::kStoreNoWait>);
const Add store_commit("TMA store with no commit", "rule: the block ends", tma_fault<Tma::kNoCommit>);
const Add store_unwritten("TMA store of what nobody wrote", "uninitialised: TMA store", tma_fault<Tma::kStoreUnwritten>);
const Add store_over("a store to a tile that TMA stores from", "race: ", tma_fault<Tma::kStoreOverwritten>);
const Add barrier_plain("a plain store to a barrier", "rule: ", tma_fault<Tma::kPlainOnBarrier>);

const Add maps("rules of tensor maps", "", [] {
  const Array<uint16_t> a(64 * 64);
  TensorMap map;
  const auto refused = [&](const char* what, cudaError_t e) {
    if (e != cudaErrorInvalidValue) throw Failure(std::string("a tensor map is made with ") + what);
  };
  const auto type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  check(make_tensor_map_2d(&map, a.data(), type, 64, 64, 128, 8, 64, Swizzle::k128));
  refused("a base at 2 bytes", make_tensor_map_2d(&map, a.data() + 1, type, 63, 64, 128, 8, 64, Swizzle::k128));
  refused("a stride of 130", make_tensor_map_2d(&map, a.data(), type, 60, 64, 130, 8, 64, Swizzle::k128));
  refused("a box of 257 rows", make_tensor_map_2d(&map, a.data(), type, 64, 64, 128, 257, 64, Swizzle::k128));
  refused("rows beyond the swizzle", make_tensor_map_2d(&map, a.data(), type, 64, 64, 128, 8, 64, Swizzle::k64));
  refused("rows of 12 bytes", make_tensor_map_2d(&map, a.data(), type, 64, 64, 128, 8, 6, Swizzle::kNone));
  refused("no columns", make_tensor_map_2d(&map, a.data(), type, 64, 0, 128, 8, 64, Swizzle::k128));
});

// ---- Barriers. -----------------------------------------------------------------------------

enum class Bar { kFine, kOneMore, kTooFew, kTwice, kMisaligned, kEarlyRelease, kWrongParity };

struct Ring {
  alignas(8) Barrier full[2], empty[2];
  alignas(16) int words[2][32];
  int pad;
};

// Warp 0 writes words for warp 1, a round in one of two slots.
template <Bar kHow>
__global__ void ring_kernel(int* out) {
  L3V_SHARED(Ring, s);
  const int t = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; i++) {
      mbarrier_init(&s.full[i], kHow == Bar::kTooFew ? 33 : 32);
      mbarrier_init(&s.empty[i], 32);
    }
    if (kHow == Bar::kTwice) mbarrier_init(&s.full[0], 32);
    if (kHow == Bar::kMisaligned) mbarrier_init(reinterpret_cast<Barrier*>(&s.pad - 1), 1);
    mbarrier_fence_init();
  }
  __syncthreads();
  for (int round = 0; round < 6; round++) {
    const int slot = round % 2, turn = round / 2 % 2;
    if (threadIdx.x < 32) {
      mbarrier_wait(&s.empty[slot], kHow == Bar::kWrongParity ? turn : turn ^ 1);
      s.words[slot][t] = round * 100 + t;
      mbarrier_arrive(&s.full[slot]);
      if (kHow == Bar::kOneMore && t == 4) mbarrier_arrive(&s.full[slot]);
    } else {
      mbarrier_wait(&s.full[slot], turn);
      if (kHow == Bar::kEarlyRelease) mbarrier_arrive(&s.empty[slot]);
      out[round * 32 + t] = s.words[slot][31 - t];
      if (kHow != Bar::kEarlyRelease) mbarrier_arrive(&s.empty[slot]);
    }
  }
}
template <Bar kHow>
void ring_case() {
  const Array<int> out(6 * 32);
  L3V_LAUNCH(ring_kernel<kHow>, dim3(1), dim3(64), sizeof(Ring), stream(), out.data());
  const std::vector<int> got = out.read();
  for (size_t i = 0; i < got.size(); i++) same("word", i, got[i], static_cast<double>(i / 32 * 100 + 31 - i % 32), 0);
}
const Add ring_fine("a ring of mbarriers", "", ring_case<Bar::kFine>);
const Add ring_more("an arrival too many", "rule: mbarrier_arrive|race: |uninitialised: |deadlock: ", ring_case<Bar::kOneMore>);
const Add ring_few("an arrival too few", "deadlock: ", ring_case<Bar::kTooFew>);
const Add ring_twice("a barrier made twice", "rule: mbarrier_init", ring_case<Bar::kTwice>);
const Add ring_align("a misaligned barrier", "alignment: ", ring_case<Bar::kMisaligned>);
const Add ring_early("a slot released before it is read", "race: ", ring_case<Bar::kEarlyRelease>);
const Add ring_parity("a producer with the wrong parity", "deadlock: ", ring_case<Bar::kWrongParity>);

// ---- wgmma. --------------------------------------------------------------------------------

enum class Wg {
  kFine, kNoFence, kNoCommit, kNoWait, kNoProxyFence, kTouched, kNoBarrier, kUnwritten, kDiffering, kOverwritten, kMisaligned, kBeyond,
  kOneWarpLess
};

constexpr int kDepth = 64;  // of the product, along k
struct Factors {
  alignas(1024) unsigned char a[64 * kDepth * 2], b[256 * kDepth * 2];
};

// Where element (i, k) of a factor stands in shared memory. count rows (of k) or columns (of n).
// Rows of k: i is a row of kDepth elements, cut into tiles as wide as the swizzle, one behind the
// other. Rows of n: k is a row of count elements, cut so. No swizzle: core matrices of 8 by 16 bytes.
__device__ int element(int i, int k, int count, Swizzle swizzle, bool rows_of_n) {
  const int width = swizzle == Swizzle::k128 ? 128 : swizzle == Swizzle::k64 ? 64 : swizzle == Swizzle::k32 ? 32 : 0;
  const int row = rows_of_n ? k : i, byte = (rows_of_n ? i : k) * 2, rows = rows_of_n ? kDepth : count;
  if (width == 0) return (byte / 16 * (rows / 8) + row / 8) * 128 + row % 8 * 16 + byte % 16;
  return byte / width * rows * width + place(row, byte % width, swizzle, width);
}

// The descriptor of 16 of k from k on. There, of no swizzle: 128 bytes from 8 rows to the next 8, rows
// / 8 times that from 16 bytes to the next 16.
__device__ uint64_t descriptor(const unsigned char* base, int k, int count, Swizzle swizzle, bool rows_of_n) {
  const int width = swizzle == Swizzle::k128 ? 128 : swizzle == Swizzle::k64 ? 64 : swizzle == Swizzle::k32 ? 32 : 0;
  const uint32_t rows = rows_of_n ? kDepth : count;
  if (width == 0 && !rows_of_n) return shared_descriptor(base + k / 8 * rows / 8 * 128, rows / 8 * 128, 128, swizzle);
  if (width == 0) return shared_descriptor(base + k / 8 * 128, 128, rows / 8 * 128, swizzle);
  if (!rows_of_n) return shared_descriptor(base + k * 2 / width * rows * width + k * 2 % width, 0, 8 * width, swizzle);
  return shared_descriptor(base + k * width, rows * width, 8 * width, swizzle);
}

// d [64, N] = a b in two groups, the second added; d is written in rows. from_registers: a's fragments.
template <int N, Rows kRows, Wg kHow, class Type>
__global__ void wgmma_kernel(const uint16_t* a, const uint16_t* b, float* d, Swizzle swizzle, bool from_registers, Type type) {
  L3V_SHARED(Factors, s);
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  constexpr bool kOfN = kRows == Rows::kOfN;
  for (int i = t; i < 64 * kDepth; i += 128)
    if (kHow != Wg::kUnwritten || i != 77)
      *reinterpret_cast<uint16_t*>(s.a + element(i / kDepth, i % kDepth, 64, swizzle, false)) = a[i];
  for (int i = t; i < N * kDepth; i += 128)
    *reinterpret_cast<uint16_t*>(s.b + element(i / kDepth, i % kDepth, N, swizzle, kOfN)) = b[i];
  if (kHow != Wg::kNoProxyFence) fence_async_shared();
  if (kHow != Wg::kNoBarrier) __syncthreads();
  float sums[N / 2];
  for (int i = 0; i < N / 2; i++) sums[i] = 1.0f;
  const unsigned char* base_a = s.a;
  if (kHow == Wg::kMisaligned) base_a += 128;
  if (kHow == Wg::kBeyond) base_a = s.b + sizeof s.b;
  for (int half = 0; half < 2; half++) {
    uint32_t fragments[2][4] = {};
    for (int step = 0; step < 2; step++)
      for (int r = 0; r < 4; r++)
        for (int e = 0; e < 2; e++)
          fragments[step][r] |= static_cast<uint32_t>(a[(warp * 16 + lane / 4 + r % 2 * 8) * kDepth + (half * 2 + step) * 16 + r / 2 * 8 +
                                                        lane % 4 * 2 + e]) << e * 16;
    wgmma_registers(sums);
    if (kHow != Wg::kNoFence || half == 0) wgmma_fence();
    if (kHow == Wg::kOneWarpLess && warp == 3) continue;
    for (int step = 0; step < 2; step++) {
      const int k = (half * 2 + step) * 16;
      const uint64_t desc_a = descriptor(base_a, k, 64, swizzle, false);
      const uint64_t desc_b = descriptor(s.b, kHow == Wg::kDiffering && warp == 2 ? 0 : k, N, swizzle, kOfN);
      if (from_registers) wgmma_ra<N, kRows>(sums, fragments[step], desc_b, half + step > 0, type);
      else wgmma<N, kRows>(sums, desc_a, desc_b, half + step > 0, type);
    }
    if (kHow == Wg::kOverwritten && t == 0) *reinterpret_cast<volatile uint16_t*>(s.b) = 0;
    if (kHow != Wg::kNoCommit) wgmma_commit();
    if (kHow == Wg::kTouched) sums[0] *= 2;
    if (kHow != Wg::kNoWait) wgmma_wait<0>();
    wgmma_registers(sums);
  }
  for (int i = 0; i < N / 2; i++)
    d[(warp * 16 + lane / 4 + i % 4 / 2 * 8) * N + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

template <int N, Rows kRows = Rows::kOfK, Wg kHow = Wg::kFine, class Type = Bf16>
void wgmma_case(Swizzle swizzle, bool from_registers) {
  const bool bf16 = std::is_same<Type, Bf16>::value;
  const Array<uint16_t> a(numbers16(64 * kDepth, 0, bf16)), b(numbers16(size_t{N} * kDepth, 3, bf16));
  const Array<float> d(size_t{64} * N);
  L3V_LAUNCH((wgmma_kernel<N, kRows, kHow, Type>), dim3(1), dim3(128), sizeof(Factors), stream(), a.data(), b.data(), d.data(), swizzle,
             from_registers, Type());
  const std::vector<float> got = d.read();
  for (size_t r = 0; r < 64; r++)
    for (size_t c = 0; c < N; c++) {
      double sum = 0;
      for (size_t k = 0; k < kDepth; k++) sum += small(r * kDepth + k) * small(3 + c * kDepth + k);
      same("sum", r * N + c, got[r * N + c], sum, 0);
    }
}
template <int N, Rows kRows, class Type>
void wgmma_cases() {
  for (const Swizzle swizzle : {Swizzle::kNone, Swizzle::k32, Swizzle::k64, Swizzle::k128}) {
    if (kRows == Rows::kOfN && N % std::max(8, width_of(swizzle) / 2) != 0) continue;  // the last tile would be narrower
    wgmma_case<N, kRows, Wg::kFine, Type>(swizzle, false);
    wgmma_case<N, kRows, Wg::kFine, Type>(swizzle, true);
  }
}
const Add wgmma8("wgmma n8", "", wgmma_cases<8, Rows::kOfK, Bf16>);
const Add wgmma24("wgmma n24", "", wgmma_cases<24, Rows::kOfK, Bf16>);
const Add wgmma64("wgmma n64", "", wgmma_cases<64, Rows::kOfK, F16>);
const Add wgmma72("wgmma n72", "", wgmma_cases<72, Rows::kOfK, Bf16>);
const Add wgmma256("wgmma n256", "", wgmma_cases<256, Rows::kOfK, Bf16>);
const Add wgmma64n("wgmma n64, rows of n", "", wgmma_cases<64, Rows::kOfN, Bf16>);
const Add wgmma96n("wgmma n96, rows of n", "", wgmma_cases<96, Rows::kOfN, F16>);
const Add wgmma128n("wgmma n128, rows of n", "", wgmma_cases<128, Rows::kOfN, Bf16>);
template <Wg kHow>
void wgmma_fault() { wgmma_case<64, Rows::kOfK, kHow>(Swizzle::k128, false); }
const Add wg_fence("wgmma with no fence", "rule: wgmma: no wgmma_fence", wgmma_fault<Wg::kNoFence>);
const Add wg_commit("wgmma with no commit", "rule: wgmma_wait", wgmma_fault<Wg::kNoCommit>);
const Add wg_wait("wgmma with no wait", "race: read of a sum|rule: the block ends", wgmma_fault<Wg::kNoWait>);
const Add wg_proxy("wgmma of stores with no proxy fence", "proxy: wgmma", wgmma_fault<Wg::kNoProxyFence>);
const Add wg_touched("sums touched before the wait", "race: ", wgmma_fault<Wg::kTouched>);
const Add wg_barrier("wgmma with no barrier behind the stores", "race: |uninitialised: |proxy: ", wgmma_fault<Wg::kNoBarrier>);
const Add wg_unwritten("wgmma of what nobody wrote", "uninitialised: wgmma", wgmma_fault<Wg::kUnwritten>);
const Add wg_differ("warps of a warpgroup at different wgmma", "divergence: wgmma", wgmma_fault<Wg::kDiffering>);
const Add wg_over("a store to a factor before the wait", "race: |proxy: ", wgmma_fault<Wg::kOverwritten>);
const Add wg_align("a descriptor of a misaligned tile", "alignment: wgmma", wgmma_fault<Wg::kMisaligned>);
const Add wg_beyond("a descriptor beyond shared memory", "bounds: wgmma", wgmma_fault<Wg::kBeyond>);
const Add wg_less("wgmma of three warps", "deadlock: |divergence: |rule: ", wgmma_fault<Wg::kOneWarpLess>);

// ---- A product of TMA and WGMMA. -------------------------------------------------------------

enum class Gemm {
  kFine, kNoFullWait, kWrongFullParity, kWrongEmptyParity, kEarlyRelease, kNoRelease, kTooFewBytes, kTooManyBytes, kNoSwizzle, kNoFence,
  kNoCommit, kNoWait, kStoreNoFence, kStoreNoBarrier, kRegistersOfOneWarp, kTooManyRegisters, kLateRelease
};

constexpr int kM = 128, kN = 64, kK = 64, kSlots = 3;  // of a tile; a row of K is 128 bytes
struct Pipe {
  alignas(1024) uint16_t a[kSlots][kM][kK], b[kSlots][kN][kK];
  alignas(1024) float out[kM][32];  // half of the tile's columns, a row of 128 bytes
  Barrier full[kSlots], empty[kSlots];
};

// c [m, n] = a [m, k] b [n, k]. Blocks stride over the tiles. Warpgroup 0 loads, 1 and 2 multiply 64 rows
// each and store by TMA. Zeros stand for what lies outside.
template <Gemm kHow>
__global__ void __launch_bounds__(384, 1) gemm_kernel(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                                                   const __grid_constant__ TensorMap c, int m, int n, int k) {
  L3V_SHARED(Pipe, s);
  constexpr bool kReleases = kHow != Gemm::kEarlyRelease && kHow != Gemm::kNoRelease && kHow != Gemm::kLateRelease;
  const int group = threadIdx.x / 128, t = threadIdx.x % 128, lane = t % 32;
  const int across = (n + kN - 1) / kN, tiles = (m + kM - 1) / kM * across, steps = (k + kK - 1) / kK;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kSlots; i++) {
      mbarrier_init(&s.full[i], 1);
      mbarrier_init(&s.empty[i], 2);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  int slot = 0;
  uint32_t turn = 0;
  if (group == 0) {
    if (kHow != Gemm::kRegistersOfOneWarp || t < 32) setmaxnreg_dec<40>();
    if (t == 0) {
      for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x)
        for (int step = 0; step < steps; step++) {
          mbarrier_wait(&s.empty[slot], kHow == Gemm::kWrongEmptyParity ? turn : turn ^ 1);
          uint32_t bytes = sizeof s.a[0] + sizeof s.b[0];
          if (kHow == Gemm::kTooFewBytes) bytes = sizeof s.a[0];
          if (kHow == Gemm::kTooManyBytes) bytes += 16;
          mbarrier_arrive_expect(&s.full[slot], bytes);
          tma_load_2d(s.a[slot], &a, step * kK, tile / across * kM, &s.full[slot]);
          tma_load_2d(s.b[slot], &b, step * kK, tile % across * kN, &s.full[slot]);
          if (++slot == kSlots) slot = 0, turn ^= 1;
        }
    }
  } else {
    if (kHow == Gemm::kTooManyRegisters) setmaxnreg_inc<248>();
    else setmaxnreg_inc<232>();
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      float sums[kN / 2];
      for (int step = 0; step < steps; step++) {
        if (kHow != Gemm::kNoFullWait) mbarrier_wait(&s.full[slot], kHow == Gemm::kWrongFullParity ? turn ^ 1 : turn);
        if (kHow == Gemm::kEarlyRelease && t == 0) mbarrier_arrive(&s.empty[slot]);
        wgmma_registers(sums);
        if (kHow != Gemm::kNoFence) wgmma_fence();
        for (int kk = 0; kk < kK; kk += 16) {
          const Swizzle swizzle = kHow == Gemm::kNoSwizzle ? Swizzle::kNone : Swizzle::k128;
          wgmma<kN>(sums, shared_descriptor(&s.a[slot][(group - 1) * 64][kk], 0, 1024, swizzle),
                    shared_descriptor(&s.b[slot][0][kk], 0, 1024, swizzle), step + kk > 0, Bf16());
        }
        if (kHow != Gemm::kNoCommit) wgmma_commit();
        // The product of this step goes on while the next one's tiles are awaited.
        if (kHow != Gemm::kNoWait) wgmma_wait<1>();
        if (t == 0 && kHow == Gemm::kLateRelease) mbarrier_arrive(&s.empty[slot]);  // its product is under way
        if (t == 0 && step > 0 && kReleases) mbarrier_arrive(&s.empty[slot == 0 ? kSlots - 1 : slot - 1]);
        if (++slot == kSlots) slot = 0, turn ^= 1;
      }
      if (kHow != Gemm::kNoWait) wgmma_wait<0>();
      if (t == 0 && kReleases) mbarrier_arrive(&s.empty[slot == 0 ? kSlots - 1 : slot - 1]);
      wgmma_registers(sums);
      for (int half = 0; half < 2; half++) {
        for (int i = 0; i < kN / 4; i++) {
          const int at = half * (kN / 4) + i, row = (group - 1) * 64 + t / 32 * 16 + lane / 4 + at % 4 / 2 * 8;
          const int column = at / 4 * 8 + lane % 4 * 2 + at % 2 - half * 32;
          *reinterpret_cast<float*>(reinterpret_cast<unsigned char*>(s.out) + place(row, column * 4, Swizzle::k128, 128)) = sums[at];
        }
        if (kHow != Gemm::kStoreNoFence) fence_async_shared();
        if (kHow != Gemm::kStoreNoBarrier) named_barrier_sync(group, 128);
        if (t == 0) {
          tma_store_2d(&c, s.out[(group - 1) * 64], tile % across * kN + half * 32, tile / across * kM + (group - 1) * 64);
          tma_store_commit();
          tma_store_wait_read<0>();
        }
        named_barrier_sync(group + 2, 128);
      }
    }
  }
}

template <Gemm kHow>
void gemm_case() {
  const int m = 200, n = 136, k = 328;
  const Array<uint16_t> a(numbers16(static_cast<size_t>(m * k), 0, true)), b(numbers16(static_cast<size_t>(n * k), 9, true));
  const Array<float> c(static_cast<size_t>(m * n));
  TensorMap map_a, map_b, map_c;
  check(make_tensor_map_2d(&map_a, a.data(), CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, m, k, k * 2, kM, kK, Swizzle::k128));
  check(make_tensor_map_2d(&map_b, b.data(), CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, n, k, k * 2, kN, kK, Swizzle::k128));
  check(make_tensor_map_2d(&map_c, c.data(), CU_TENSOR_MAP_DATA_TYPE_FLOAT32, m, n, n * 4, 64, 32, Swizzle::k128));
  check(allow_shared(gemm_kernel<kHow>, sizeof(Pipe)));
  L3V_LAUNCH(gemm_kernel<kHow>, dim3(4), dim3(384), sizeof(Pipe), stream(), map_a, map_b, map_c, m, n, k);
  const std::vector<float> got = c.read();
  for (size_t r = 0; r < m; r++)
    for (size_t o = 0; o < n; o++) {
      double sum = 0;
      for (size_t i = 0; i < k; i++) sum += small(r * k + i) * small(9 + o * k + i);
      same("sum", r * n + o, got[r * n + o], sum, 0);
    }
}
const Add g_fine("gemm of TMA and wgmma", "", gemm_case<Gemm::kFine>);
const Add g_full("gemm of wgmma: tiles not waited for", "race: |uninitialised: ", gemm_case<Gemm::kNoFullWait>);
const Add g_parity("gemm of wgmma: wrong parity of full", "race: |uninitialised: |deadlock: ", gemm_case<Gemm::kWrongFullParity>);
const Add g_empty("gemm of wgmma: wrong parity of empty", "deadlock: ", gemm_case<Gemm::kWrongEmptyParity>);
const Add g_early("gemm of wgmma: a slot released before it is read", "race: |deadlock: ", gemm_case<Gemm::kEarlyRelease>);
const Add g_late("gemm of wgmma: a slot released with its product under way", "race: |deadlock: ", gemm_case<Gemm::kLateRelease>);
const Add g_norelease("gemm of wgmma: slots never released", "deadlock: ", gemm_case<Gemm::kNoRelease>);
const Add g_few("gemm of wgmma: too few bytes expected", "rule: TMA load|race: |deadlock: ", gemm_case<Gemm::kTooFewBytes>);
const Add g_many("gemm of wgmma: too many bytes expected", "deadlock: ", gemm_case<Gemm::kTooManyBytes>);
const Add g_swizzle("gemm of wgmma: a descriptor without the tile's swizzle", "rule: wgmma: a descriptor", gemm_case<Gemm::kNoSwizzle>);
const Add g_fence("gemm of wgmma: no wgmma_fence", "rule: wgmma: no wgmma_fence", gemm_case<Gemm::kNoFence>);
const Add g_commit("gemm of wgmma: no wgmma_commit", "rule: wgmma_wait", gemm_case<Gemm::kNoCommit>);
const Add g_wait("gemm of wgmma: no wgmma_wait", "race: ", gemm_case<Gemm::kNoWait>);
const Add g_store("gemm of wgmma: no fence before the store", "proxy: TMA store", gemm_case<Gemm::kStoreNoFence>);
const Add g_store2("gemm of wgmma: no barrier before the store", "race: |uninitialised: |proxy: ", gemm_case<Gemm::kStoreNoBarrier>);
const Add g_registers("gemm of wgmma: setmaxnreg of one warp", "divergence: setmaxnreg", gemm_case<Gemm::kRegistersOfOneWarp>);
const Add g_pool("gemm of wgmma: more registers than there are", "rule: setmaxnreg", gemm_case<Gemm::kTooManyRegisters>);

}  // namespace
}  // namespace testing
