// attention.cpp: out = softmax(scale q k^T) v per sequence and head, every query against every key
// (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1), grouped heads as in Ainslie et al. 2023,
// arXiv:2305.13245. The scores of one query lie in this worker's scratch, one a key row.
#include "attention.h"

#include <cmath>
#include <limits>

namespace l3v::cpu {

void attend_row(const float* q, const Matrix& k, const Matrix& v, int64_t column, int32_t head_dim,
                float scale, const int64_t* keys, int64_t count, float* scores, float* out) {
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < count; i++) {
    const float* key = k.f32(keys[i]) + column;
    float dot = 0;
    for (int32_t d = 0; d < head_dim; d++) dot = std::fma(q[d], key[d], dot);
    scores[i] = scale * dot;
    if (scores[i] > max) max = scores[i];
  }
  double sum = 0, acc[kMaxHeadDim] = {};
  for (int64_t i = 0; i < count; i++) {
    const double p = std::exp(scores[i] - max);
    sum += p;
    for (int32_t d = 0; d < head_dim; d++) acc[d] += p * v.f32(keys[i])[column + d];
  }
  for (int32_t d = 0; d < head_dim; d++) out[d] = count == 0 ? 0 : static_cast<float>(acc[d] / sum);
}

int64_t sound_attention(const AttentionArgs& a, Worker& w) {
  const int64_t q = sound_sequences(a.q_offsets, a.sequences, a.q_rows);
  const int64_t k = sound_sequences(a.k_offsets, a.sequences, a.k_rows);
  const int64_t sound = q < k ? q : k;
  if (sound < a.sequences)
    w.fault(L3V_FAULT_OFFSETS, sound, *(q <= k ? a.q_offsets : a.k_offsets).i32(sound + 1));
  return sound;
}

int64_t sound_attention(const PagedAttentionArgs& a, Worker& w) {
  const int64_t sound = sound_sequences(a.q_offsets, a.sequences, a.rows);
  if (sound < a.sequences) w.fault(L3V_FAULT_OFFSETS, sound, *a.q_offsets.i32(sound + 1));
  return sound;
}

int64_t visible_keys(const AttentionArgs& a, int64_t* row, int64_t end, int64_t* keys, int64_t cap) {
  int64_t n = 0;
  for (; *row < end && n < cap; ++*row)
    if (!a.key_mask || *a.key_mask.u8(*row) != 0) keys[n++] = *row;
  return n;
}

void attention_scalar(const AttentionArgs& a, Worker& w) {
  const int64_t sound = sound_attention(a, w);
  if (sound == 0) return;
  int64_t* keys = reinterpret_cast<int64_t*>(w.scratch);
  float* scores = reinterpret_cast<float*>(keys + a.k_rows);

  const Rows all{*a.q_offsets.i32(0), *a.q_offsets.i32(sound)};
  int64_t s = -1, count = 0;
  Rows q_rows{0, 0};
  for (int64_t i; (i = w.claim(all.count())) >= 0;) {
    const int64_t row = all.begin + i;
    while (s < 0 || row >= q_rows.end) {
      q_rows = rows_of(a.q_offsets, ++s);
      const Rows k_rows = rows_of(a.k_offsets, s);
      int64_t at = k_rows.begin;
      count = visible_keys(a, &at, k_rows.end, keys, a.k_rows);
    }
    for (int32_t h = 0; h < a.heads; h++) {
      const int64_t kv_column = int64_t{h / (a.heads / a.kv_heads)} * a.head_dim;
      attend_row(a.q.f32(row) + h * a.head_dim, a.k, a.v, kv_column, a.head_dim, a.scale, keys, count,
                 scores, a.out.f32(row) + h * a.head_dim);
    }
  }
}

Workspace attention_workspace_scalar(const AttentionArgs& a, int) {
  return {a.k_rows * static_cast<int64_t>(sizeof(int64_t) + sizeof(float)), 0};
}

}  // namespace l3v::cpu
