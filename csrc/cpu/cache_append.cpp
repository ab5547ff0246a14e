// cache_append.cpp: puts the step's keys and values into their places of the paged cache. One form
// for all sets: it is a copy.
#include <cstring>

#include "ops.h"
#include "ragged.h"

namespace l3v::cpu {

void cache_append_scalar(const CacheAppendArgs& a, Worker& w) {
  constexpr int64_t kRows = 16;  // a claim's worth
  const size_t bytes = static_cast<size_t>(a.cols) * sizeof(float);
  const int64_t sound = sound_sequences(a.q_offsets, a.sequences, a.rows);
  if (sound < a.sequences) w.fault(L3V_FAULT_OFFSETS, sound, *a.q_offsets.i32(sound + 1));
  if (sound == 0) return;

  const Rows all{*a.q_offsets.i32(0), *a.q_offsets.i32(sound)};
  int64_t s = -1;
  bool good = false;
  PagedSequence seq{};
  for (int64_t c; (c = w.claim((all.count() + kRows - 1) / kRows)) >= 0;) {
    const int64_t begin = all.begin + c * kRows;
    for (int64_t row = begin; row < begin + kRows && row < all.end; row++) {
      while (s < 0 || row >= seq.rows.end) good = paged_sequence(a, w, ++s, &seq);
      if (!good) continue;
      const int64_t to = seq.cache_row(seq.first + row - seq.rows.begin);
      std::memcpy(a.k_cache.f32(to), a.k.f32(row), bytes);
      std::memcpy(a.v_cache.f32(to), a.v.f32(row), bytes);
    }
  }
}

}  // namespace l3v::cpu
