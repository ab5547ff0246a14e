// attention.h: what the two attention ops and their forms share. None of it is vector code.
#ifndef L3V_CPU_ATTENTION_H
#define L3V_CPU_ATTENTION_H

#include "ops.h"
#include "ragged.h"

namespace l3v::cpu {

// The scalar form of both: one query and head against keys[0..count), rows of k and v whose head
// begins at column:
//   score_i = scale q.k_i,  p_i = exp(score_i - max),  out = sum p_i v_i / sum p_i
// Without keys out is zeros. scores has room for count.
void attend_row(const float* q, const Matrix& k, const Matrix& v, int64_t column, int32_t head_dim,
                float scale, const int64_t* keys, int64_t count, float* scores, float* out);

// The sequences from the first on whose offsets hold on both sides; notes the fault of the next.
int64_t sound_attention(const AttentionArgs& a, Worker& w);
// The same for the one side of the paged op.
int64_t sound_attention(const PagedAttentionArgs& a, Worker& w);

// Puts the next key rows of *row..end-1 that the mask leaves into keys, at most cap, and moves *row
// behind them. A masked key's memory is never read: it may hold anything.
int64_t visible_keys(const AttentionArgs& a, int64_t* row, int64_t end, int64_t* keys, int64_t cap);

// ---- The vector forms: blocks of query rows against segments of keys (attention_simd.h). ----

constexpr int64_t kAttentionSegment = 512;  // keys; what a segment is packed into fits in L2
constexpr int64_t kAttentionChunk = 64;     // values that stay in L1 while a group runs over them
constexpr int64_t kAttentionGroup = 80;     // query rows; a multiple of 4 and 5, the tiles' heights
constexpr int64_t kAttentionBlock = 400;    // most query rows of a task: the packing is shared
constexpr int64_t kAttentionFew = 16;       // so few rows that packing values would not pay

constexpr float kZeroHead[kMaxHeadDim] = {};

// A query of one head, and how many keys of its sequence it sees.
struct QueryRow {
  const float* q;
  float* out;
  int64_t keys;
};

// What a task works on: some rows of one sequence, of one kv head or, when they are few, of some.
struct QueryBlock {
  QueryRow row[kAttentionBlock];  // [heads][rows], rows in rising order of the keys they see
  int64_t rows, heads;
  bool few;
  Matrix k, v;
  int64_t column;  // of the first kv head in k and v
  int32_t head_dim;
  float scale;
};

// A sequence's keys in order: next() puts the rows of the next segment into keys.
struct MaskedKeys {
  const AttentionArgs* a;
  int64_t at, end;
  int64_t next(int64_t* keys) { return visible_keys(*a, &at, end, keys, kAttentionSegment); }
};
struct PagedKeys {
  PagedSequence sequence;
  int64_t at, end;
  int64_t next(int64_t* keys);
};

// How a sequence's query rows are cut into tasks. A row here is a query row of the op and one of
// the query heads that share a kv head. No cut changes a result.
class BlockList {
 public:
  // few_pays: this head size may go the way of few rows.
  BlockList(int64_t op_rows, int64_t sequences, int32_t heads, int32_t kv_heads, bool few_pays,
            int workers);
  struct Part {
    int64_t head, heads;  // kv heads
    Rows rows;
    bool few;
  };
  int64_t count(int64_t op_rows) const;
  Part at(int64_t op_rows, int64_t i) const;
  int64_t group() const { return group_; }

 private:
  bool few(int64_t rows) const { return few_pays_ && rows <= kAttentionFew; }
  int64_t heads_together(int64_t rows) const;
  int64_t blocks(int64_t rows) const { return (rows + most_ - 1) / most_; }
  int64_t kv_heads_, group_, most_, heads_most_;
  bool few_pays_;
};

// Claim the tasks of an op, in order.
class AttentionTasks {
 public:
  AttentionTasks(const AttentionArgs& a, Worker& w, int lanes);
  bool next(QueryBlock* block, MaskedKeys* keys);

 private:
  const AttentionArgs& a_;
  Worker& w_;
  int64_t sound_;
  BlockList blocks_;
  int64_t total_ = 0;
  int64_t sequence_ = -1, first_ = 0, end_ = 0;  // the sequence at hand and its tasks [first, end)
};

class PagedAttentionTasks {
 public:
  PagedAttentionTasks(const PagedAttentionArgs& a, Worker& w, int lanes);
  bool next(QueryBlock* block, PagedKeys* keys);

 private:
  const PagedAttentionArgs& a_;
  Worker& w_;
  int64_t sound_;
  BlockList blocks_;
  int64_t total_ = 0;
  int64_t sequence_ = -1, first_ = 0, end_ = 0;
  bool good_ = false;
  PagedSequence at_{};
};

// A worker's scratch memory, by what lies in it.
struct AttentionScratch {
  AttentionScratch(char* base, int32_t head_dim, int lanes);
  int64_t stride;     // head_dim in whole vectors
  int64_t* keys;      // [segment] rows of k and v
  int64_t* counting;  // [segment] 0, 1, 2, ...: the rows of packed values
  float* k;           // [segment / panel][head_dim][panel]
  float* v;           // [segment][stride]
  // One group of query rows and one segment:
  int64_t* sees;  // [group] keys that a row sees
  float* scores;  // [group][segment], then their exponentials
  float* top;     // [group] the highest score
  float* sum;     // [group] of exponentials
  float* sums;    // [group][stride] of values weighed
  // A block, over the segments so far:
  float* all_top;  // [block]
  float* all_sum;  // [block]
  float* acc;      // [block][stride]
  int64_t bytes;
};

}  // namespace l3v::cpu
#endif
