// attention.h: what the two attention ops share, in the scalar form; attention_simd.h has the other.
#ifndef L3V_CPU_ATTENTION_H
#define L3V_CPU_ATTENTION_H

#include "cpu.h"

namespace l3v::cpu {

// One query and head against keys[0..count), rows of k and v whose head begins at column:
//   score_i = scale q.k_i,  p_i = exp(score_i - max),  out = sum p_i v_i / sum p_i
// Without keys out is zeros. scores has room for count.
void attend_row(const float* q, const Matrix& k, const Matrix& v, int64_t column, int32_t head_dim,
                float scale, const int64_t* keys, int64_t count, float* scores, float* out);

// The sequences from the first on whose offsets hold on both sides; notes the fault of the next.
int64_t sound_attention(const AttentionArgs& a, Worker& w);

// Puts the next key rows of *row..end-1 that the mask leaves into keys, at most cap, and moves *row
// behind them. A masked key's memory is never read: it may hold anything.
int64_t visible_keys(const AttentionArgs& a, int64_t* row, int64_t end, int64_t* keys, int64_t cap);

}  // namespace l3v::cpu
#endif
