// topk.cpp: the k largest of each row, largest first, the lower index first among equals. A row
// with a NaN, or of -inf alone, is a fault: its ids become -1 and its values NaN, which no
// reader can take for an answer.
#include "topk.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace l3v::cpu {
namespace {

void refuse(const TopkArgs& a, Worker& w, int64_t row, int64_t column) {
  w.fault(L3V_FAULT_NOT_FINITE, row, column);
  for (int32_t i = 0; i < a.k; i++) {
    a.ids.i32(row)[i] = -1;
    if (a.values) a.values.f32(row)[i] = std::numeric_limits<float>::quiet_NaN();
  }
}

// True when a comes before b in the answer.
bool better(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.column < b.column);
}

}  // namespace

void topk_write(const TopkArgs& a, Worker& w, int64_t row, int64_t nan, const Candidate* best) {
  if (nan >= 0 || best[0].value == -std::numeric_limits<float>::infinity()) {
    refuse(a, w, row, nan >= 0 ? nan : 0);
    return;
  }
  for (int32_t i = 0; i < a.k; i++) {
    a.ids.i32(row)[i] = best[i].column;
    if (a.values) a.values.f32(row)[i] = best[i].value;
  }
}

// Keeps the best so far in order and slides each new one into its place.
void topk_scalar(const TopkArgs& a, Worker& w) {
  for (int64_t row; (row = w.claim(a.rows)) >= 0;) {
    const float* x = a.x.f32(row);
    Candidate best[kMaxTopk];
    int32_t count = 0;
    int64_t nan = -1;
    for (int64_t c = 0; c < a.cols && nan < 0; c++) {
      if (std::isnan(x[c])) nan = c;
      // Columns come in rising order, so an equal value never passes one that is there.
      int32_t at = count;
      while (at > 0 && x[c] > best[at - 1].value) at--;
      if (at == a.k) continue;
      if (count < a.k) count++;
      for (int32_t i = count - 1; i > at; i--) best[i] = best[i - 1];
      best[at] = {x[c], static_cast<int32_t>(c)};
    }
    topk_write(a, w, row, nan, best);
  }
}

Workspace topk_workspace_scalar(const TopkArgs&, int) { return {}; }

BestHeap::BestHeap(Candidate* heap, int32_t k) : heap_(heap), k_(k) {
  for (int32_t i = k / 2 - 1; i >= 0; i--) sink(i);
}

void BestHeap::replace(Candidate c) {
  heap_[0] = c;
  sink(0);
}

void BestHeap::sort() { std::sort(heap_, heap_ + k_, better); }

void BestHeap::sink(int32_t at) {
  const Candidate c = heap_[at];
  for (int32_t child; (child = 2 * at + 1) < k_; at = child) {
    if (child + 1 < k_ && better(heap_[child], heap_[child + 1])) child++;
    if (!better(c, heap_[child])) break;
    heap_[at] = heap_[child];
  }
  heap_[at] = c;
}

// Rows alone keep the workers busy, or each row is cut into parts, long enough to be worth it.
TopkParts::TopkParts(const TopkArgs& a, int workers) : count(1), columns(a.cols), total(a.cols) {
  constexpr int64_t kLeast = 8192;
  static_assert(kLeast >= kMaxTopk, "each part has k candidates");
  if (a.rows >= 2 * workers || workers == 1) return;
  count = std::max<int64_t>(1, std::min<int64_t>(2 * workers / a.rows, a.cols / kLeast));
  columns = a.cols / count;
}

Workspace TopkParts::workspace(const TopkArgs& a) const {
  const int64_t one = a.k * static_cast<int64_t>(sizeof(Candidate)) + 8;
  return {0, count == 1 ? 0 : a.rows * count * one};
}

int64_t* TopkParts::nan(const TopkArgs&, Worker& w, int64_t row, int64_t part) const {
  return reinterpret_cast<int64_t*>(w.shared) + row * count + part;
}

Candidate* TopkParts::best(const TopkArgs& a, Worker& w, int64_t row, int64_t part) const {
  Candidate* first = reinterpret_cast<Candidate*>(nan(a, w, a.rows, 0));
  return first + (row * count + part) * a.k;
}

void topk_merge(const TopkArgs& a, Worker& w, const TopkParts& parts, int64_t row) {
  int64_t nan = *parts.nan(a, w, row, 0);
  BestHeap heap(parts.best(a, w, row, 0), a.k);
  for (int64_t p = 1; p < parts.count && nan < 0; p++) {
    nan = *parts.nan(a, w, row, p);
    const Candidate* c = parts.best(a, w, row, p);
    for (int32_t i = 0; i < a.k && c[i].value > heap.least(); i++) heap.replace(c[i]);
  }
  if (nan < 0) heap.sort();
  topk_write(a, w, row, nan, parts.best(a, w, row, 0));
}

}  // namespace l3v::cpu
