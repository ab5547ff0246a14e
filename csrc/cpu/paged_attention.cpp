// paged_attention.cpp: causal attention over the paged cache (paging: Kwon et al. 2023,
// arXiv:2309.06180): the row at position t sees positions 0..t of its sequence.
#include "attention.h"

namespace l3v::cpu {

void paged_attention_scalar(const PagedAttentionArgs& a, Worker& w) {
  const int64_t sound = sound_attention(a, w);
  if (sound == 0) return;
  int64_t* keys = reinterpret_cast<int64_t*>(w.scratch);
  float* scores = reinterpret_cast<float*>(keys + a.max_pages * a.page_size);

  const Rows all{*a.q_offsets.i32(0), *a.q_offsets.i32(sound)};
  int64_t s = -1;
  bool good = false;
  PagedSequence seq{};
  for (int64_t i; (i = w.claim(all.count())) >= 0;) {
    const int64_t row = all.begin + i;
    while (s < 0 || row >= seq.rows.end) {
      good = paged_sequence(a, w, ++s, &seq);
      for (int64_t t = 0; good && t < seq.length; t++) keys[t] = seq.cache_row(t);
    }
    // The row of an idle or broken sequence sees nothing, and becomes zeros.
    const int64_t count = good ? seq.first + row - seq.rows.begin + 1 : 0;
    for (int32_t h = 0; h < a.heads; h++) {
      const int64_t kv_column = int64_t{h / (a.heads / a.kv_heads)} * a.head_dim;
      attend_row(a.q.f32(row) + h * a.head_dim, a.k_cache, a.v_cache, kv_column, a.head_dim, a.scale,
                 keys, count, scores, a.out.f32(row) + h * a.head_dim);
    }
  }
}

Workspace paged_attention_workspace_scalar(const PagedAttentionArgs& a, int) {
  return {a.max_pages * a.page_size * static_cast<int64_t>(sizeof(int64_t) + sizeof(float)), 0};
}

}  // namespace l3v::cpu
