// attention_blocks.cpp: the tasks and scratch memory of the vector forms of attention.
#include <algorithm>

#include "attention.h"

namespace l3v::cpu {

BlockList::BlockList(int64_t all_rows, int32_t kv_heads, int workers) {
  const int64_t tasks = 4 * int64_t{workers};
  const int64_t even = (all_rows * kv_heads + tasks - 1) / tasks;
  most_ = std::min(std::max(even, kAttentionGroup), kAttentionBlock);
}

int64_t PagedKeys::next(int64_t* keys) {
  const int64_t n = std::min(end - at, kAttentionSegment);
  for (int64_t i = 0; i < n; i++) keys[i] = sequence.cache_row(at + i);
  at += n;
  return n;
}

// Query rows times the query heads of one kv head.
static int64_t grouped(int64_t rows, int32_t heads, int32_t kv_heads) {
  return rows * (heads / kv_heads);
}

AttentionTasks::AttentionTasks(const AttentionArgs& a, Worker& w)
    : a_(a), w_(w), sound_(sound_attention(a, w)),
      blocks_(grouped(a.q_rows, a.heads, a.kv_heads), a.kv_heads, w.count) {
  for (int64_t s = 0; s < sound_; s++)
    total_ += a.kv_heads * blocks_.count(grouped(rows_of(a.q_offsets, s).count(), a.heads, a.kv_heads));
}

bool AttentionTasks::next(QueryBlock* block, MaskedKeys* keys) {
  const int64_t task = w_.claim(total_);
  if (task < 0) return false;
  const int32_t group = a_.heads / a_.kv_heads;
  int64_t all = 0, count = 0;
  Rows rows{};
  for (;;) {
    if (sequence_ >= 0) {
      rows = rows_of(a_.q_offsets, sequence_);
      all = rows.count() * group;
      count = blocks_.count(all);
      end_ = first_ + a_.kv_heads * count;
      if (task < end_) break;
      first_ = end_;
    }
    sequence_++;
  }
  const int64_t head = (task - first_) / count;
  const Rows part = blocks_.at(all, (task - first_) % count);
  for (int64_t i = part.begin; i < part.end; i++) {
    const int64_t row = rows.begin + i / group;
    const int64_t column = (head * group + i % group) * a_.head_dim;
    block->row[i - part.begin] = {a_.q.f32(row) + column, a_.out.f32(row) + column, a_.k_rows};
  }
  block->rows = part.count();
  block->k = a_.k;
  block->v = a_.v;
  block->column = head * a_.head_dim;
  block->head_dim = a_.head_dim;
  block->scale = a_.scale;
  const Rows k_rows = rows_of(a_.k_offsets, sequence_);
  *keys = {&a_, k_rows.begin, k_rows.end};
  return true;
}

PagedAttentionTasks::PagedAttentionTasks(const PagedAttentionArgs& a, Worker& w)
    : a_(a), w_(w), sound_(sound_attention(a, w)),
      blocks_(grouped(a.rows, a.heads, a.kv_heads), a.kv_heads, w.count) {
  for (int64_t s = 0; s < sound_; s++)
    total_ += a.kv_heads * blocks_.count(grouped(rows_of(a.q_offsets, s).count(), a.heads, a.kv_heads));
}

bool PagedAttentionTasks::next(QueryBlock* block, PagedKeys* keys) {
  const int64_t task = w_.claim(total_);
  if (task < 0) return false;
  const int32_t group = a_.heads / a_.kv_heads;
  int64_t all = 0, count = 0;
  for (;;) {
    if (sequence_ >= 0) {
      all = at_.rows.count() * group;
      count = blocks_.count(all);
      end_ = first_ + a_.kv_heads * count;
      if (task < end_) break;
      first_ = end_;
    }
    good_ = paged_sequence(a_, w_, ++sequence_, &at_);
  }
  const int64_t head = (task - first_) / count;
  const Rows part = blocks_.at(all, (task - first_) % count);
  for (int64_t i = part.begin; i < part.end; i++) {
    const int64_t row = at_.rows.begin + i / group;
    const int64_t column = (head * group + i % group) * a_.head_dim;
    block->row[i - part.begin] = {a_.q.f32(row) + column, a_.out.f32(row) + column,
                                  at_.first + i / group + 1};
  }
  block->rows = part.count();
  block->k = a_.k_cache;
  block->v = a_.v_cache;
  block->column = head * a_.head_dim;
  block->head_dim = a_.head_dim;
  block->scale = a_.scale;
  // An idle or broken sequence has no key: its rows become zeros.
  *keys = {at_, 0, good_ ? block->row[part.count() - 1].keys : 0};
  return true;
}

AttentionScratch::AttentionScratch(char* base, int32_t head_dim, int lanes) : bytes(0) {
  stride = (head_dim + lanes - 1) / lanes * lanes;
  const auto take = [&](int64_t count, int64_t size) {
    char* p = base + bytes;
    bytes += (count * size + 63) / 64 * 64;
    return p;
  };
  const auto floats = [&](int64_t count) { return reinterpret_cast<float*>(take(count, 4)); };
  keys = reinterpret_cast<int64_t*>(take(kAttentionSegment, 8));
  counting = reinterpret_cast<int64_t*>(take(kAttentionSegment, 8));
  k = floats(kAttentionSegment * head_dim);
  v = floats(kAttentionSegment * stride);
  scores = floats(kAttentionGroup * kAttentionSegment);
  sums = floats(kAttentionGroup * stride);
  acc = floats(kAttentionBlock * stride);
  maximum = floats(kAttentionBlock);
  weight = floats(kAttentionBlock);
  if (base != nullptr)
    for (int64_t i = 0; i < kAttentionSegment; i++) counting[i] = i;
}

}  // namespace l3v::cpu
