// attention_blocks.cpp: the tasks and scratch memory of the vector forms of attention.
#include <algorithm>

#include "attention.h"

namespace l3v::cpu {

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Large blocks share the packing of keys and values; enough of them keep every worker busy to the
// end.
BlockList::BlockList(int64_t op_rows, int64_t sequences, int32_t heads, int32_t kv_heads,
                     bool few_pays, int workers)
    : kv_heads_(kv_heads), group_(heads / kv_heads), few_pays_(few_pays) {
  const int64_t even = divide_up(op_rows * heads, 4 * int64_t{workers});
  most_ = std::min(std::max(even, kAttentionGroup), kAttentionBlock);
  heads_most_ = divide_up(sequences * kv_heads, 2 * int64_t{workers});
}

int64_t BlockList::heads_together(int64_t rows) const {
  return std::max<int64_t>(1, std::min({heads_most_, kv_heads_, kAttentionGroup / rows}));
}

int64_t BlockList::count(int64_t op_rows) const {
  const int64_t rows = op_rows * group_;
  if (rows == 0) return 0;
  return few(rows) ? divide_up(kv_heads_, heads_together(rows)) : kv_heads_ * blocks(rows);
}

BlockList::Part BlockList::at(int64_t op_rows, int64_t i) const {
  const int64_t rows = op_rows * group_;
  if (few(rows)) {
    const int64_t first = i * heads_together(rows);
    return {first, std::min(heads_together(rows), kv_heads_ - first), {0, rows}, true};
  }
  const int64_t n = blocks(rows), block = i % n;
  return {i / n, 1, {rows * block / n, rows * (block + 1) / n}, false};
}

int64_t PagedKeys::next(int64_t* keys) {
  const int64_t n = std::min(end - at, kAttentionSegment);
  for (int64_t i = 0; i < n; i++) keys[i] = sequence.cache_row(at + i);
  at += n;
  return n;
}

// Fills what the two ops share. seen(i) is the number of keys that row i of the sequence sees.
template <class Args, class Seen>
static void fill(const Args& a, const Matrix& k, const Matrix& v, const Rows& op_rows, int64_t group,
                 const BlockList::Part& part, QueryBlock* block, Seen seen) {
  QueryRow* row = block->row;
  for (int64_t h = part.head; h < part.head + part.heads; h++) {
    for (int64_t i = part.rows.begin; i < part.rows.end; i++) {
      const int64_t r = op_rows.begin + i / group;
      const int64_t column = (h * group + i % group) * a.head_dim;
      *row++ = {a.q.f32(r) + column, a.out.f32(r) + column, seen(i / group)};
    }
  }
  block->rows = part.rows.count();
  block->heads = part.heads;
  block->few = part.few;
  block->k = k;
  block->v = v;
  block->column = part.head * a.head_dim;
  block->head_dim = a.head_dim;
  block->scale = a.scale;
}

AttentionTasks::AttentionTasks(const AttentionArgs& a, Worker& w, int lanes)
    : a_(a), w_(w), sound_(sound_attention(a, w)),
      blocks_(a.q_rows, a.sequences, a.heads, a.kv_heads, a.head_dim % lanes == 0, w.count) {
  for (int64_t s = 0; s < sound_; s++) total_ += blocks_.count(rows_of(a.q_offsets, s).count());
}

bool AttentionTasks::next(QueryBlock* block, MaskedKeys* keys) {
  const int64_t task = w_.claim(total_);
  if (task < 0) return false;
  while (task >= end_) {
    first_ = end_;
    end_ += blocks_.count(rows_of(a_.q_offsets, ++sequence_).count());
  }
  const Rows q = rows_of(a_.q_offsets, sequence_), k = rows_of(a_.k_offsets, sequence_);
  fill(a_, a_.k, a_.v, q, blocks_.group(), blocks_.at(q.count(), task - first_), block,
       [&](int64_t) { return k.count(); });
  *keys = {&a_, k.begin, k.end};
  return true;
}

PagedAttentionTasks::PagedAttentionTasks(const PagedAttentionArgs& a, Worker& w, int lanes)
    : a_(a), w_(w), sound_(sound_attention(a, w)),
      blocks_(a.rows, a.sequences, a.heads, a.kv_heads, a.head_dim % lanes == 0, w.count) {
  for (int64_t s = 0; s < sound_; s++) total_ += blocks_.count(rows_of(a.q_offsets, s).count());
}

bool PagedAttentionTasks::next(QueryBlock* block, PagedKeys* keys) {
  const int64_t task = w_.claim(total_);
  if (task < 0) return false;
  while (task >= end_) {
    good_ = paged_sequence(a_, w_, ++sequence_, &at_);
    first_ = end_;
    end_ += blocks_.count(at_.rows.count());
  }
  fill(a_, a_.k_cache, a_.v_cache, at_.rows, blocks_.group(),
       blocks_.at(at_.rows.count(), task - first_), block,
       [&](int64_t row) { return at_.first + row + 1; });
  // An idle or broken sequence has no key: its rows become zeros.
  *keys = {at_, 0, good_ ? block->row[block->rows - 1].keys : 0};
  return true;
}

AttentionScratch::AttentionScratch(char* base, int32_t head_dim, int lanes) : bytes(0) {
  stride = divide_up(head_dim, lanes) * lanes;
  const auto take = [&](int64_t count, int64_t size) {
    char* p = base + bytes;
    bytes += divide_up(count * size, 64) * 64;
    return p;
  };
  const auto floats = [&](int64_t count) { return reinterpret_cast<float*>(take(count, 4)); };
  const auto counts = [&](int64_t count) { return reinterpret_cast<int64_t*>(take(count, 8)); };
  keys = counts(kAttentionSegment);
  counting = counts(kAttentionSegment);
  k = floats(kAttentionSegment * head_dim);
  v = floats(kAttentionSegment * stride);
  sees = counts(kAttentionGroup);
  scores = floats(kAttentionGroup * kAttentionSegment);
  top = floats(kAttentionGroup);
  sum = floats(kAttentionGroup);
  sums = floats(kAttentionGroup * stride);
  all_top = floats(kAttentionBlock);
  all_sum = floats(kAttentionBlock);
  acc = floats(kAttentionBlock * stride);
  if (base != nullptr)
    for (int64_t i = 0; i < kAttentionSegment; i++) counting[i] = i;
}

}  // namespace l3v::cpu
