// sample.cu: draws one column of each row by the steps in llama3v.h.
//
// Grid: one block a row. Nothing is sorted: the borders of top-k and top-p are found bit by bit, as
// the largest value that enough columns, or enough weight, reach (32 passes over the row each).
// Sums in double, in one fixed order.
#include "launch.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

enum SampleFault { kFaultNotFinite, kFaultSetting, kFaultPosition };

struct Shared {
  float tops[kThreads / 32];
  int32_t columns[kThreads / 32];
  double sums[kThreads / 32];
  double parts[kThreads];
  int32_t limit, drawn;
};

__device__ float float_of(int32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

// The first two words of Philox4x32-10 (Salmon et al. 2011) as a number in [0, 1).
__device__ double uniform(uint32_t key0, uint32_t key1, uint32_t counter) {
  uint32_t c[4] = {counter, 0, 0, 0};
  for (int round = 0; round < 10; round++) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c[0]), low0 = 0xD2511F53u * c[0];
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c[2]), low1 = 0xCD9E8D57u * c[2];
    c[0] = high1 ^ c[1] ^ key0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ key1;
    c[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  const uint64_t bits = static_cast<uint64_t>(c[0]) << 21 | c[1] >> 11;
  return static_cast<double>(bits) / 9007199254740992.0;  // 2^53
}

// A row's scores and which of its columns are still in.
struct Row {
  const float* x;
  int64_t cols;
  float top, temperature, least_weight;
  uint32_t border;   // columns of a lower key are out
  int32_t equals_to; // columns of the border's own key above this one are out
  __device__ float weight(int64_t c) const { return expf((x[c] - top) / temperature); }
  __device__ bool in(int64_t c) const {
    const uint32_t key = ordered_bits(x[c]);
    return key > border || (key == border && c <= equals_to);
  }
};

// The largest key that holds enough: measure(key) is what the columns of this key and above have.
template <class Measure>
__device__ uint32_t border_of(double enough, Measure measure) {
  uint32_t border = 0;
  for (int bit = 31; bit >= 0; bit--)
    if (measure(border | 1u << bit) >= enough) border |= 1u << bit;
  return border;
}

// The wrong one among a row's settings, -1 when none is.
__device__ int wrong_setting(const int32_t* s) {
  const float temperature = float_of(s[0]), top_p = float_of(s[2]), min_p = float_of(s[3]);
  if (!(temperature >= 0) || temperature == INFINITY) return 0;
  if (s[6] != 0) return 6;
  if (s[7] != 0) return 7;
  if (temperature == 0) return -1;
  if (s[1] < 0) return 1;
  if (!(top_p > 0 && top_p <= 1)) return 2;
  if (!(min_p >= 0 && min_p <= 1)) return 3;
  return -1;
}

__device__ void cut(Row& r, int32_t top_k, float top_p, Shared& s) {
  if (top_k > 0 && top_k < r.cols)
    r.border = border_of(top_k, [&](uint32_t key) {
      double n = 0;
      for (int64_t c = threadIdx.x; c < r.cols; c += kThreads) n += ordered_bits(r.x[c]) >= key;
      return block_reduce(n, s.sums, Sum());
    });
  if (!(top_p < 1)) return;
  const auto above = [&](uint32_t key) {
    double sum = 0;
    for (int64_t c = threadIdx.x; c < r.cols; c += kThreads)
      if (ordered_bits(r.x[c]) >= key && r.in(c)) sum += r.weight(c);
    return block_reduce(sum, s.sums, Sum());
  };
  const double enough = static_cast<double>(top_p) * above(0);
  const uint32_t border = border_of(enough, above);
  double rest = enough - above(border + 1);
  // Of the border's equals the lower columns stay until they reach the rest.
  if (threadIdx.x == 0) {
    s.limit = -1;
    for (int64_t c = 0; c < r.cols && rest > 0; c++) {
      if (ordered_bits(r.x[c]) != border) continue;
      rest -= r.weight(c);
      s.limit = static_cast<int32_t>(c);
    }
  }
  __syncthreads();
  r.border = border;
  r.equals_to = s.limit;
}

// The first column that is in and whose sum from column 0 on is above u times the whole.
__device__ int32_t draw(const Row& r, double u, Shared& s) {
  const int64_t each = (r.cols + kThreads - 1) / kThreads, begin = each * threadIdx.x;
  const int64_t end = begin + each < r.cols ? begin + each : r.cols;
  double part = 0;
  for (int64_t c = begin; c < end; c++)
    if (r.in(c) && r.weight(c) >= r.least_weight) part += r.weight(c);
  s.parts[threadIdx.x] = part;
  __syncthreads();
  if (threadIdx.x == 0) {
    double all = 0;
    for (int t = 0; t < kThreads; t++) all += s.parts[t];
    const double target = u * all;
    double before = 0;
    int t = 0;
    while (t + 1 < kThreads && before + s.parts[t] <= target) before += s.parts[t++];
    s.drawn = -1;
    for (int64_t c = each * t; c < r.cols && before <= target; c++) {
      if (!r.in(c) || r.weight(c) < r.least_weight) continue;
      before += r.weight(c);
      s.drawn = static_cast<int32_t>(c);
    }
  }
  __syncthreads();
  return s.drawn;
}

__global__ void __launch_bounds__(kThreads) sample_kernel(SampleArgs a, unsigned long long* faults) {
  L3V_SHARED(Shared, s);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const int32_t* setting = a.settings.i32(row);
    const float temperature = float_of(setting[0]);
    const float* x = a.x.f32(row);
    int32_t id = -1;
    float top = -INFINITY;
    int32_t bad = INT32_MAX, first = INT32_MAX;
    for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
      if ((isnan(x[c]) || (temperature != 0 && x[c] == INFINITY)) && bad == INT32_MAX) bad = static_cast<int32_t>(c);
      if (x[c] > top) top = x[c];
    }
    top = block_reduce(top, s.tops, Max());
    bad = block_reduce(bad, s.columns, Least());
    for (int64_t c = threadIdx.x; c < a.cols && first == INT32_MAX; c += kThreads)
      if (x[c] == top) first = static_cast<int32_t>(c);
    first = block_reduce(first, s.columns, Least());
    if (bad == INT32_MAX && top == -INFINITY) bad = 0;
    const int wrong = wrong_setting(setting);
    const int32_t position = *a.positions.i32(row);
    if (wrong >= 0) {
      note_fault(faults + kFaultSetting, row, wrong);
    } else if (temperature != 0 && position < 0) {
      note_fault(faults + kFaultPosition, row, position);
    } else if (bad != INT32_MAX) {
      note_fault(faults + kFaultNotFinite, row, bad);
    } else if (temperature == 0) {
      id = first;
    } else {
      Row r{x, a.cols, top, temperature, float_of(setting[3]), 0, INT32_MAX};
      cut(r, setting[1], float_of(setting[2]), s);
      id = draw(r, uniform(static_cast<uint32_t>(setting[4]), static_cast<uint32_t>(setting[5]), static_cast<uint32_t>(position)), s);
    }
    if (threadIdx.x == 0) {
      *a.ids.i32(row) = id;
      if (a.counts && id >= 0) a.counts.i32(row)[id]++;
    }
  }
}

}  // namespace

void sample_cuda(const SampleArgs& a, const Queue& q) {
  L3V_LAUNCH(sample_kernel, blocks_for(a.rows), dim3(kThreads), sizeof(Shared), q.stream, a, q.faults);
}

}  // namespace l3v::cuda
