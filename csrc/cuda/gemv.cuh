// gemv.cuh: out = activation(x W^T + bias) + residual for up to 8 rows of x.
//
// A warp takes kOutputs rows of W over all of k, or where those are too few for the card, `splits` warps
// of a block take every splits-th step of it. In a step each lane loads one chunk of 16 bytes of quants
// of each of its rows (dequantize.cuh), the next step's as soon as those are used: other warps have work
// meanwhile. x stands in shared memory as float32, rounded as the compute type says, kSlab columns at a
// time; 4 floats are left free every 32 (or a chunk, if that is more), so that eight lanes' 16 bytes
// meet in no bank.
//
// Grid: one block of 8 warps for 8 / splits * kOutputs rows of W. Shared: kRows slabs, 18 KiB a row (9 of
// eight rows), and a sum a warp, row and output.
//
// Order of sums: a lane's chain over its chunks, of each run of values that share a scale first alone and
// then times the scale; a tree over lanes; then over splits. It depends on the weight's shape and type
// and on the card, not on how many rows x has.
//
// Bound by memory: W is read once. H100: 3.35 TB/s x 0.7 microseconds of latency is 2.3 MB under way,
// 18 KB of each of 132 multiprocessors; 16 warps of 4 outputs, which 128 registers a thread leave room
// for, have 32 KB of quants under way when all wait. By instructions: a 4-bit value takes about 3 to
// widen and one fma a row of x, of the 5 that an H100 has time for while it comes (14 bytes, 25 values a
// cycle and multiprocessor, for 128 lanes). Eight rows of x are bound by them and by shared memory: at 4
// bits by a third of the bandwidth. Not yet run on hardware.
#ifndef L3V_CUDA_GEMV_CUH
#define L3V_CUDA_GEMV_CUH

#include "activation.cuh"
#include "dequantize.cuh"
#include "gemv.h"

namespace l3v::cuda {

constexpr int kGemvWarps = 8, kGemvThreads = 32 * kGemvWarps;

// Rows of x, and what follows: outputs of a warp, columns of x in shared memory, blocks that the
// registers must leave room for.
template <int kTypeOf, int kRowsOf>
struct GemvForm {
  static constexpr int kType = kTypeOf, kRows = kRowsOf;
  // As many as the registers hold. Each reads x anew from shared memory, 4 bytes a value and row: of 8
  // rows two outputs take 16 bytes a value, 8 values a cycle.
  static constexpr bool kTwoBits = Chunk<kType>::kBits == 2, kTwoPlanes = Chunk<kType>::kPlanes.more_bits != 0;
  static constexpr bool kFew = kTwoPlanes || kTwoBits || Chunk<kType>::kMinimum;
  static constexpr int kOutputs = kRows == 1 ? 4 : kRows == 2 ? (kTwoBits ? 2 : 4) : kRows == 4 ? (kFew ? 2 : 4) : 2;
  static constexpr int kSlab = kRows < 8 ? 4096 : 2048;
  static constexpr int kBlocks = 2;
  static constexpr int kGap = Chunk<kType>::kElements > 32 ? Chunk<kType>::kElements : 32;  // between free floats
  // Where column i of a slab stands.
  static constexpr int place(int i) { return i + i / kGap * 4; }

  struct Shared {
    float x[kRows][kSlab + kSlab / kGap * 4];
    float sums[kGemvWarps][kOutputs * kRows];
  };
};

// x as the products see it.
__device__ inline float x_value(const Matrix& x, int64_t row, int64_t k, int32_t compute) {
  const float v = x.dtype == L3V_F32 ? row_of<float>(x, row)[k] : widen(row_of<Bfloat16>(x, row)[k]);
  return compute == L3V_F32 ? v : compute == L3V_BF16 ? round_to_bf16(v) : round_to_f16(v);
}

template <class Form>
__global__ void __launch_bounds__(kGemvThreads, Form::kBlocks) gemv_kernel(LinearArgs a, WeightRows w, int32_t splits) {
  using Values = Chunk<Form::kType>;
  constexpr int kRows = Form::kRows, kOutputs = Form::kOutputs, kElements = Values::kElements;
  L3V_SHARED(typename Form::Shared, s);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t block_outputs = kGemvWarps / splits * kOutputs;
  const int64_t first_out = static_cast<int64_t>(blockIdx.x) * block_outputs + warp / splits * kOutputs;
  const int64_t chunks = (w.cols + kElements - 1) / kElements, stride = 32 * splits;

  // Rows past the last are read as the last, and not stored.
  const char* rows[kOutputs];
  for (int r = 0; r < kOutputs; r++)
    rows[r] = w.data + (first_out + r < w.rows ? first_out + r : w.rows - 1) * w.row_bytes;

  float sum[kOutputs][kRows] = {};
  Values now[kOutputs];
  int64_t c = warp % splits * 32 + lane;
  if (c < chunks) {  // under way while x is put into shared memory
#pragma unroll
    for (int r = 0; r < kOutputs; r++) now[r].load(w, rows[r], c);
  }
  for (int64_t k0 = 0; k0 < w.cols; k0 += Form::kSlab) {
    __syncthreads();  // the slab before was read
    const int64_t left = chunks * kElements - k0;
    const int here = left < Form::kSlab ? static_cast<int>(left) : Form::kSlab;
    for (int i = threadIdx.x; i < here; i += kGemvThreads) {
#pragma unroll
      for (int n = 0; n < kRows; n++)
        s.x[n][Form::place(i)] = n < a.rows && k0 + i < w.cols ? x_value(a.x, n, k0 + i, a.compute) : 0.0f;
    }
    __syncthreads();
    const int64_t first_chunk = k0 / kElements, end_chunk = first_chunk + here / kElements;
    while (c < end_chunk) {
      const int at = Form::place(static_cast<int>(c - first_chunk) * kElements);
#pragma unroll
      for (int run = 0; run < Values::kRuns; run++) {
        float part[kOutputs][kRows], x_sum[kRows];
#pragma unroll
        for (int n = 0; n < kRows; n++) {
          x_sum[n] = 0.0f;
#pragma unroll
          for (int r = 0; r < kOutputs; r++) part[r][n] = Values::kScaled ? 0.0f : sum[r][n];
        }
#pragma unroll
        for (int t = run * Values::kRun; t < (run + 1) * Values::kRun; t++) {
          float q[kOutputs][4];
#pragma unroll
          for (int r = 0; r < kOutputs; r++) now[r].quad(t, q[r]);
#pragma unroll
          for (int n = 0; n < kRows; n++) {
            const Floats4 x = *reinterpret_cast<const Floats4*>(&s.x[n][at + 4 * t]);
            if constexpr (Values::kMinimum) {
              for (int i = 0; i < 4; i++) x_sum[n] += x.v[i];
            }
#pragma unroll
            for (int r = 0; r < kOutputs; r++)
              for (int i = 0; i < 4; i++) part[r][n] = fmaf(x.v[i], q[r][i], part[r][n]);
          }
        }
#pragma unroll
        for (int r = 0; r < kOutputs; r++) {
          float scale, minimum;
          now[r].run(run, &scale, &minimum);
#pragma unroll
          for (int n = 0; n < kRows; n++) {
            sum[r][n] = Values::kScaled ? fmaf(scale, part[r][n], sum[r][n]) : part[r][n];
            if constexpr (Values::kMinimum) sum[r][n] = fmaf(-minimum, x_sum[n], sum[r][n]);
          }
        }
      }
      c += stride;
      if (c < chunks) {
#pragma unroll
        for (int r = 0; r < kOutputs; r++) now[r].load(w, rows[r], c);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < kOutputs; r++) {
#pragma unroll
    for (int n = 0; n < kRows; n++) {
      float v = sum[r][n];
      for (int lanes = 16; lanes > 0; lanes /= 2) v += __shfl_xor_sync(~0u, v, lanes);
      if (lane == 0) s.sums[warp][r * kRows + n] = v;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kGemvWarps / splits * kOutputs * kRows; i += kGemvThreads) {
    const int group = i / (kOutputs * kRows), at = i % (kOutputs * kRows), n = at % kRows;
    const int64_t out = static_cast<int64_t>(blockIdx.x) * block_outputs + group * kOutputs + at / kRows;
    if (n >= a.rows || out >= w.rows) continue;
    float y = s.sums[group * splits][at];
    for (int split = 1; split < splits; split++) y += s.sums[group * splits + split][at];
    if (a.bias) y += a.bias.f32()[out];
    y = activate(y, a.activation);
    if (a.residual) y += a.residual.f32(n)[out];
    store(a.out, n, out, y);
  }
}

// So many warps of a block share a row's columns that the card has 16 a multiprocessor, as long as each
// has a step. Outputs of a warp are taken for 4 whatever they are, so that rows of x decide nothing.
inline int32_t gemv_splits(const WeightRows& w, int64_t elements, const Card& card) {
  int32_t splits = 1;
  while (splits < kGemvWarps && divide_up(w.rows, 4) * splits < 16 * card.multiprocessors && splits * 2 * 32 * elements <= w.cols)
    splits *= 2;
  return splits;
}

template <class Form>
void launch_gemv(const LinearArgs& a, const Queue& q) {
  const WeightRows w = rows_of(a.weight);
  const int32_t splits = gemv_splits(w, Chunk<Form::kType>::kElements, q.card);
  constexpr int64_t kShared = sizeof(typename Form::Shared);
  const dim3 grid(static_cast<unsigned>(divide_up(w.rows, kGemvWarps / splits * Form::kOutputs)));
  const auto gemv_kernel = cuda::gemv_kernel<Form>;
  if (allow_shared(gemv_kernel, kShared) != cudaSuccess) return;  // the runtime remembers why
  L3V_LAUNCH(gemv_kernel, grid, dim3(kGemvThreads), kShared, q.stream, a, w, splits);
}

// Eight rows of types that take many registers are two products of four: one output a warp is all that
// would be left, and shared memory would give 4 values a cycle, where twice 16 bytes of W come for 8.
template <int kType>
constexpr bool kFourRowsAtMost = GemvForm<kType, 8>::kTwoPlanes || GemvForm<kType, 8>::kTwoBits;

inline Matrix from_row(Matrix m, int64_t row) {
  if (m) m.data += row * m.stride * (m.dtype == L3V_F32 ? 4 : 2);
  return m;
}

template <int kType>
void gemv_of(const LinearArgs& a, const Queue& q) {
  if (a.rows == 1) return launch_gemv<GemvForm<kType, 1>>(a, q);
  if (a.rows == 2) return launch_gemv<GemvForm<kType, 2>>(a, q);
  if (a.rows <= 4) return launch_gemv<GemvForm<kType, 4>>(a, q);
  if constexpr (kFourRowsAtMost<kType>) {
    LinearArgs first = a, rest = a;
    first.rows = 4;
    rest.rows = a.rows - 4;
    rest.x = from_row(a.x, 4);
    rest.residual = from_row(a.residual, 4);
    rest.out = from_row(a.out, 4);
    launch_gemv<GemvForm<kType, 4>>(first, q);
    launch_gemv<GemvForm<kType, 4>>(rest, q);
  } else {
    launch_gemv<GemvForm<kType, 8>>(a, q);
  }
}

}  // namespace l3v::cuda
#endif
