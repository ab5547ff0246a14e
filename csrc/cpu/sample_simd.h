// sample_simd.h: sample and log_prob on vectors V, one lane included. Every set gives the same bits: exp
// does the same operations in all of them, and weights are summed in sixteen lanes of double whatever V
// is.
//
// Sampling reads a row some five times and sorts nothing. What filters take out gets weight zero.
// Compute bound by exp, a nanosecond for a few columns.
#ifndef L3V_CPU_SAMPLE_SIMD_H
#define L3V_CPU_SAMPLE_SIMD_H

#include <cmath>
#include <limits>

#include "sample.h"
#include "topk_simd.h"

namespace l3v::cpu {

// out = exp((x - top) / temperature) for n columns; top is the largest, so no out is above 1.
template <class V>
static void weigh(const float* x, int64_t n, float top, float temperature, float* out) {
  constexpr int L = V::kLanes;
  const V high = V::all(top), t = V::all(temperature);
  const int64_t full = n - n % L;
  for (int64_t c = 0; c < full; c += L) exp((V::load(x + c) - high) / t).store(out + c);
  if (const int rest = static_cast<int>(n - full); rest != 0)
    exp((V::load(x + full, rest, high) - high) / t).store(out + full, rest);
}

static inline double total_weight(const float* weights, int64_t n) {
  constexpr int kLanes = 16;
  double lanes[kLanes] = {};
  int64_t c = 0;
  for (; c + kLanes <= n; c += kLanes)
    for (int i = 0; i < kLanes; i++) lanes[i] += static_cast<double>(weights[c + i]);
  for (int i = 0; c + i < n; i++) lanes[i] += static_cast<double>(weights[c + i]);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

// The sum over all blocks, in their order.
static inline double total_weights(const float* weights, int64_t cols, double* totals) {
  double all = 0;
  for (int64_t c = 0, b = 0; c < cols; c += kSampleBlock, b++)
    all += totals[b] = total_weight(weights + c, cols - c < kSampleBlock ? cols - c : kSampleBlock);
  return all;
}

// The k-th largest of x, k < cols.
template <class V>
static float kth_largest(const float* x, int64_t cols, int32_t k, int32_t* at) {
  if (k <= kMaxTopk) {
    Candidate best[kMaxTopk];
    topk_scan<V>(x, 0, cols, k, best);
    return best[k - 1].value;
  }
  for (int64_t c = 0; c < cols; c++) at[c] = static_cast<int32_t>(c);
  return cut_off(x, nullptr, at, cols, k).least;
}

static inline void drop_below(const float* values, int64_t n, float least, float* weights) {
  for (int64_t c = 0; c < n; c++) weights[c] = values[c] < least ? 0.0f : weights[c];
}

// Takes out what is behind the first top_p of all, the weights' sum.
template <class V>
static void nucleus(const float* x, int64_t cols, double top_p, double all, const SampleScratch& s) {
  // Whatever lies below this, all of it together is within the part to take out, with room for rounding.
  const float least = static_cast<float>((1 - top_p) * all / (2 * static_cast<double>(cols)));
  const V limit = V::all(least), none = V::all(0);
  int64_t n = 0;
  for (int64_t c = 0; c < cols; c += V::kLanes) {
    const int64_t left = cols - c;
    const V y = left < V::kLanes ? V::load(s.weights + c, static_cast<int>(left), none) : V::load(s.weights + c);
    for (uint32_t hits = greater(y, limit); hits != 0; hits &= hits - 1)
      s.at[n++] = static_cast<int32_t>(c + __builtin_ctz(hits));
  }
  const Cut cut = cut_off(x, s.weights, s.at, n, top_p * all);
  drop_below(x, cols, cut.least, s.weights);
  for (int64_t i = cut.kept; i < cut.equal; i++) s.weights[s.at[i]] = 0;
}

// Weights what is left of a row after the filters.
template <class V>
static void filter(const float* x, int64_t cols, float top, const SampleSettings& set, const SampleScratch& s) {
  const bool few = set.top_k > 0 && set.top_k < cols;
  const float kth = few ? kth_largest<V>(x, cols, set.top_k, s.at) : 0;
  double all = 0;
  for (int64_t c = 0, b = 0; c < cols; c += kSampleBlock, b++) {
    const int64_t n = cols - c < kSampleBlock ? cols - c : kSampleBlock;
    weigh<V>(x + c, n, top, set.temperature, s.weights + c);
    if (few) drop_below(x + c, n, kth, s.weights + c);
    all += s.totals[b] = total_weight(s.weights + c, n);
  }
  if (!(set.top_p < 1) && !(set.min_p > 0)) return;
  if (set.top_p < 1) nucleus<V>(x, cols, set.top_p, all, s);
  if (set.min_p > 0) drop_below(s.weights, cols, set.min_p, s.weights);  // the largest weight is 1
  total_weights(s.weights, cols, s.totals);
}

// The column of a row, or -1 behind a fault.
template <class V>
static int32_t sample_row(const SampleArgs& a, Worker& w, int64_t row) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  SampleSettings set;
  if (const int32_t bad = read_settings(a.settings.i32(row), &set); bad >= 0) {
    w.fault(L3V_FAULT_SETTING, row, bad);
    return -1;
  }
  const float* x = a.x.f32(row);
  Candidate best;
  const int64_t nan = topk_scan<V>(x, 0, a.cols, 1, &best);
  const bool draws = set.temperature > 0;
  if (nan >= 0 || best.value == -kInfinity || (draws && best.value == kInfinity)) {
    w.fault(L3V_FAULT_NOT_FINITE, row, nan >= 0 ? nan : best.column);
    return -1;
  }
  if (!draws) return best.column;
  const int32_t position = *a.positions.i32(row);
  if (position < 0) {
    w.fault(L3V_FAULT_POSITION, row, position);
    return -1;
  }
  const SampleScratch s = sample_scratch(a, w, row);
  filter<V>(x, a.cols, best.value, set, s);
  return draw(s.weights, s.totals, a.cols, draw_uniform(set.seed, static_cast<uint32_t>(position)));
}

template <class V>
void sample_simd(const SampleArgs& a, Worker& w) {
  for (int64_t row; (row = w.claim(a.rows)) >= 0;) {
    const int32_t id = sample_row<V>(a, w, row);
    *a.ids.i32(row) = id;
    if (a.counts && id >= 0) a.counts.i32(row)[id]++;
  }
}

// The logarithm of the sum of exp(x - top).
template <class V>
static double log_sum(const float* x, int64_t cols, float top) {
  float weights[kSampleBlock];
  double all = 0;
  for (int64_t c = 0; c < cols; c += kSampleBlock) {
    const int64_t n = cols - c < kSampleBlock ? cols - c : kSampleBlock;
    weigh<V>(x + c, n, top, 1, weights);
    all += total_weight(weights, n);
  }
  return std::log(all);
}

template <class V>
void log_prob_simd(const LogProbArgs& a, Worker& w) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (int64_t row; (row = w.claim(a.rows)) >= 0;) {
    const float* x = a.x.f32(row);
    const int32_t* ids = a.ids.i32(row);
    float* out = a.out.f32(row);
    Candidate best;
    const int64_t nan = topk_scan<V>(x, 0, a.cols, 1, &best);
    if (nan >= 0 || std::isinf(best.value)) {
      w.fault(L3V_FAULT_NOT_FINITE, row, nan >= 0 ? nan : best.column);
      for (int32_t j = 0; j < a.k; j++) out[j] = kNaN;
      continue;
    }
    const double log_all = log_sum<V>(x, a.cols, best.value);
    for (int32_t j = 0; j < a.k; j++) {
      if (ids[j] == -1) continue;
      const bool known = ids[j] >= 0 && ids[j] < a.cols;
      if (!known) w.fault(L3V_FAULT_TOKEN_ID, row, ids[j]);
      out[j] = known ? static_cast<float>((static_cast<double>(x[ids[j]]) - best.value) - log_all) : kNaN;
    }
  }
}

}  // namespace l3v::cpu
#endif
