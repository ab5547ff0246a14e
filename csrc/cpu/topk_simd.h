// topk_simd.h: topk.cpp on vectors V. A row is scanned for values above the least of the k best so
// far; in a row in no order that happens k ln(cols / k) times or so, and the rest is one read. The
// answer is one total order (value, then column), so it does not depend on how the row is cut.
#ifndef L3V_CPU_TOPK_SIMD_H
#define L3V_CPU_TOPK_SIMD_H

#include <cmath>

#include "topk.h"

namespace l3v::cpu {

// The k best of columns [begin, end) into best, best first. Returns the first NaN, or -1.
template <class V>
static int64_t topk_scan(const float* x, int64_t begin, int64_t end, int32_t k, Candidate* best) {
  constexpr int L = V::kLanes;
  for (int32_t i = 0; i < k; i++) {
    const int64_t c = begin + i;
    if (std::isnan(x[c])) return c;
    best[i] = {x[c], static_cast<int32_t>(c)};
  }
  BestHeap heap(best, k);
  V least = V::all(heap.least());
  for (int64_t c = begin + k; c < end;) {
    uint32_t hits = 0;
    if (end - c >= 4 * L) {
      const V a = V::load(x + c), b = V::load(x + c + L);
      const V d = V::load(x + c + 2 * L), e = V::load(x + c + 3 * L);
      hits = greater(a, least) | greater(b, least) | greater(d, least) | greater(e, least) |
             nans((a + b) + (d + e));  // NaN also from +inf and -inf: then the next step sees none
      if (hits == 0) {
        c += 4 * L;
        continue;
      }
    }
    const int64_t stop = end - c >= 4 * L ? c + 4 * L : end;
    for (; c < stop; c += L) {
      const V y = stop - c < L ? V::load(x + c, static_cast<int>(stop - c), least) : V::load(x + c);
      for (hits = greater(y, least) | nans(y); hits != 0; hits &= hits - 1) {
        const int64_t at = c + __builtin_ctz(hits);
        if (std::isnan(x[at])) return at;
        if (x[at] > heap.least()) heap.replace({x[at], static_cast<int32_t>(at)});
      }
      least = V::all(heap.least());
    }
    c = stop;
  }
  heap.sort();
  return -1;
}

template <class V>
void topk_simd(const TopkArgs& a, Worker& w) {
  const TopkParts parts(a, w.count);
  if (parts.count == 1) {
    Candidate best[kMaxTopk];
    for (int64_t row; (row = w.claim(a.rows)) >= 0;)
      topk_write(a, w, row, topk_scan<V>(a.x.f32(row), 0, a.cols, a.k, best), best);
    return;
  }
  for (int64_t i; (i = w.claim(a.rows * parts.count)) >= 0;) {
    const int64_t row = i / parts.count, part = i % parts.count;
    *parts.nan(a, w, row, part) = topk_scan<V>(a.x.f32(row), parts.begin(part), parts.end(part), a.k,
                                               parts.best(a, w, row, part));
  }
  w.barrier();
  for (int64_t row; (row = w.claim(a.rows)) >= 0;) topk_merge(a, w, parts, row);
}

static inline Workspace topk_workspace_simd(const TopkArgs& a, int workers) {
  return TopkParts(a, workers).workspace(a);
}

}  // namespace l3v::cpu
#endif
