// sample.cpp: the parts of sample without vectors, and the scalar forms of sample and log_prob. The
// algorithm is in sample_simd.h.
#include "sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "simd_scalar.h"
#include "sample_simd.h"

namespace l3v::cpu {
namespace {

float float_of(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Ten rounds of Philox4x32 (Salmon et al. 2011, doi:10.1145/2063384.2063405).
void philox4x32(uint32_t counter[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; round++) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    const uint32_t next[4] = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
                              static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
    std::memcpy(counter, next, sizeof next);
    key0 += 0x9E3779B9, key1 += 0xBB67AE85;
  }
}

// Orders as the values do; both zeros are one.
uint32_t order_of(float value) {
  value += 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// Of one row, in whole cache lines.
int64_t scratch_bytes(int64_t cols) {
  constexpr int64_t kColumn = sizeof(float) + sizeof(int32_t), kBlock = sizeof(double), kLine = 64;
  return (sample_blocks(cols) * kBlock + cols * kColumn + kLine - 1) / kLine * kLine;
}

}  // namespace

int32_t read_settings(const int32_t* words, SampleSettings* s) {
  const auto word = [&](int i) { return static_cast<uint32_t>(words[i]); };
  *s = {float_of(words[0]), words[1], float_of(words[2]), float_of(words[3]), uint64_t{word(5)} << 32 | word(4)};
  if (!(s->temperature >= 0) || !std::isfinite(s->temperature)) return 0;
  if (words[6] != 0 || words[7] != 0) return words[6] != 0 ? 6 : 7;
  if (s->temperature == 0) return -1;
  if (s->top_k < 0) return 1;
  if (!(s->top_p > 0 && s->top_p <= 1)) return 2;
  return s->min_p >= 0 && s->min_p <= 1 ? -1 : 3;
}

double draw_uniform(uint64_t seed, uint32_t position) {
  uint32_t r[4] = {position, 0, 0, 0};
  philox4x32(r, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return static_cast<double>((uint64_t{r[0]} << 32 | r[1]) >> 11) * 0x1p-53;
}

// A radix search, the order's bits in three digits, highest first: the weights of each digit's value are
// summed, and the digit at which the target is reached holds what is looked at next. Three reads of the
// list at most, whatever its values are, where a sort would take seventeen for a whole vocabulary.
Cut cut_off(const float* x, const float* weights, int32_t* at, int64_t n, double target) {
  constexpr int kDigits = 3, kShift[kDigits] = {21, 10, 0}, kBits[kDigits] = {11, 11, 10};
  double above = 0;  // the weights of all that is larger
  for (int digit = 0; digit < kDigits; digit++) {
    double sums[1 << 11] = {};
    bool found[1 << 11] = {};
    const uint32_t mask = (1u << kBits[digit]) - 1;
    const auto bucket = [&](int32_t c) { return order_of(x[c]) >> kShift[digit] & mask; };
    for (int64_t i = 0; i < n; i++) {
      const uint32_t b = bucket(at[i]);
      sums[b] += weights == nullptr ? 1.0 : weights[at[i]];
      found[b] = true;
    }
    uint32_t chosen = 0;
    double before = above;
    for (uint32_t b = mask + 1; b-- > 0;) {
      if (!found[b]) continue;
      chosen = b;
      above = before;
      before += sums[b];
      if (before >= target) break;
    }
    int64_t left = 0;
    for (int64_t i = 0; i < n; i++)
      if (bucket(at[i]) == chosen) at[left++] = at[i];
    n = left;
  }
  const double one = weights == nullptr ? 1.0 : weights[at[0]];
  int64_t kept = 1;
  while (kept < n && above + static_cast<double>(kept) * one < target) kept++;
  return {x[at[0]], n, kept};
}

SampleScratch sample_scratch(const SampleArgs& a, const Worker& w, int64_t row) {
  SampleScratch s;
  s.totals = reinterpret_cast<double*>(w.shared + (a.rows <= w.count ? row : w.index) * scratch_bytes(a.cols));
  s.weights = reinterpret_cast<float*>(s.totals + sample_blocks(a.cols));
  s.at = reinterpret_cast<int32_t*>(s.weights + a.cols);
  return s;
}

Workspace sample_workspace(const SampleArgs& a, int workers) {
  return {0, std::min<int64_t>(a.rows, workers) * scratch_bytes(a.cols)};
}

// The blocks' totals lead to the block, whose columns are walked one by one. Rounding may leave the
// sum of a block's columns a hair below its total, or u times the sum of all a hair too high: then
// it is the last column there is.
int32_t draw(const float* weights, const double* totals, int64_t cols, double uniform) {
  const int64_t blocks = sample_blocks(cols);
  double all = 0;
  for (int64_t b = 0; b < blocks; b++) all += totals[b];
  const double limit = uniform * all;

  double sum = 0, before = 0;
  int64_t block = 0;
  for (int64_t b = 0; b < blocks; b++) {
    if (!(totals[b] > 0)) continue;
    block = b;
    before = sum;
    sum += totals[b];
    if (sum > limit) break;
  }
  const int64_t begin = block * kSampleBlock, end = cols - begin < kSampleBlock ? cols : begin + kSampleBlock;
  int64_t last = begin;
  for (int64_t c = begin; c < end && !(before > limit); c++) {
    if (!(weights[c] > 0)) continue;
    last = c;
    before += weights[c];
  }
  return static_cast<int32_t>(last);
}

void sample_scalar(const SampleArgs& a, Worker& w) { sample_simd<F1>(a, w); }
void log_prob_scalar(const LogProbArgs& a, Worker& w) { log_prob_simd<F1>(a, w); }

}  // namespace l3v::cpu
