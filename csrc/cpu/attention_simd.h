// attention_simd.h: attention.cpp and paged_attention.cpp on vectors V.
//
// The keys of a sequence are walked in segments of kSegment, by their place in the sequence. For a
// query row and the keys i of a segment:
//   s_i = scale q.k_i                one chain of fma over head_dim, keys in the lanes
//   m = max s_i,  p_i = exp(s_i - m),  l = sum p_i
//   o = sum p_i v_i                  one chain of fma over i, head_dim in the lanes
// and segments are merged in order, each with its own maximum (Milakov & Gimelshein 2018,
// arXiv:1805.02867; in blocks Dao et al. 2022, arXiv:2205.14135):
//   M' = max(M, m),  L' = L e^(M - M') + l e^(m - M'),  O' = O e^(M - M') + o e^(m - M')
// None of these sums knows which rows share a tile, a block or a step with the query, so a row's
// bits depend on its query and the keys that it sees alone.
//
// Keys are packed into panels [head_dim][kPanelVectors * kLanes], values into rows of whole
// vectors, a segment at a time, and kAttentionGroup query rows run against them: a panel, or a
// chunk of values, stays in the first cache for all tiles of the group. Decode goes another way
// through the same sums (attend_heads).
#ifndef L3V_CPU_ATTENTION_SIMD_H
#define L3V_CPU_ATTENTION_SIMD_H

#include <cfloat>

#include "attention.h"
#include "ops.h"

namespace l3v::cpu {

// The register tiles. Their loops over rows and vectors must unroll away, or the sums go through
// memory; 8 is more than any of them runs.
#if defined(__clang__)
#define L3V_UNROLL _Pragma("unroll")
#else
#define L3V_UNROLL _Pragma("GCC unroll 8")
#endif

// out[r * kAttentionSegment + lane] = scale * q_r . k_lane for one panel.
template <class V, int R>
static void score_tile(const QueryRow* rows, const float* k, int32_t head_dim, float scale,
                       float* out) {
  constexpr int L = V::kLanes, P = V::kPanelVectors;
  const float* q[R];
  V acc[R][P];
  L3V_UNROLL for (int r = 0; r < R; r++) {
    q[r] = rows[r].q;
    L3V_UNROLL for (int j = 0; j < P; j++) acc[r][j] = V::zero();
  }
  for (int64_t d = 0; d < head_dim; d++, k += P * L) {
    V key[P];
    L3V_UNROLL for (int j = 0; j < P; j++) key[j] = V::load(k + j * L);
    L3V_UNROLL for (int r = 0; r < R; r++) {
      const V query = V::all(q[r][d]);
      L3V_UNROLL for (int j = 0; j < P; j++) acc[r][j] = fma(query, key[j], acc[r][j]);
    }
  }
  L3V_UNROLL for (int r = 0; r < R; r++)
    L3V_UNROLL for (int j = 0; j < P; j++)
      (acc[r][j] * V::all(scale)).store(out + r * kAttentionSegment + j * L);
}

template <class V, int R = V::kTileRows>
static void score(int rows, const QueryRow* row, const float* k, int32_t head_dim, float scale,
                  float* out) {
  if (rows == R) return score_tile<V, R>(row, k, head_dim, scale, out);
  if constexpr (R > 1) score<V, R - 1>(rows, row, k, head_dim, scale, out);
}

// Rows of values: row i of a chunk at data + rows[i] * stride.
struct ValueRows {
  const float* data;
  int64_t stride;
  const int64_t* rows;
};

// sums[r * stride + c] += sum over i < n of p[r * kAttentionSegment + i] * v_i[c], C vectors wide.
template <class V, int R, int C>
static void value_tile(const float* p, const ValueRows& v, int64_t n, float* sums, int64_t stride) {
  constexpr int L = V::kLanes;
  V acc[R][C];
  L3V_UNROLL for (int r = 0; r < R; r++)
    L3V_UNROLL for (int c = 0; c < C; c++) acc[r][c] = V::load(sums + r * stride + c * L);
  for (int64_t i = 0; i < n; i++) {
    const float* row = v.data + v.rows[i] * v.stride;
    V value[C];
    L3V_UNROLL for (int c = 0; c < C; c++) value[c] = V::load(row + c * L);
    L3V_UNROLL for (int r = 0; r < R; r++) {
      const V weight = V::all(p[r * kAttentionSegment + i]);
      L3V_UNROLL for (int c = 0; c < C; c++) acc[r][c] = fma(weight, value[c], acc[r][c]);
    }
  }
  L3V_UNROLL for (int r = 0; r < R; r++)
    L3V_UNROLL for (int c = 0; c < C; c++) acc[r][c].store(sums + r * stride + c * L);
}

template <class V, int R, int C = V::kTileColumns>
static void value_columns(int columns, const float* p, const ValueRows& v, int64_t n, float* sums,
                          int64_t stride) {
  if (columns == C) return value_tile<V, R, C>(p, v, n, sums, stride);
  if constexpr (C > 1) value_columns<V, R, C - 1>(columns, p, v, n, sums, stride);
}

// All of head_dim, in groups of columns as even as they get.
template <class V, int R = V::kTileRows>
static void value(int rows, const float* p, ValueRows v, int64_t n, float* sums, int64_t stride) {
  if (rows == R) {
    const int vectors = static_cast<int>(stride) / V::kLanes;
    const int groups = (vectors + V::kTileColumns - 1) / V::kTileColumns;
    for (int g = 0; g < groups; g++) {
      const int columns = vectors / groups + (g < vectors % groups ? 1 : 0);
      value_columns<V, R>(columns, p, v, n, sums, stride);
      v.data += columns * V::kLanes;
      sums += columns * V::kLanes;
    }
    return;
  }
  if constexpr (R > 1) value<V, R - 1>(rows, p, v, n, sums, stride);
}

// s[0..n) becomes exp(s - max s); returns the sum. The maximum is never below -FLT_MAX, so that
// scores that overflowed to -inf weigh nothing instead of making NaN. NaN never wins a max, and
// comes through exp.
template <class V>
static float exponentials(float* s, int64_t n, float* maximum) {
  constexpr int L = V::kLanes;
  const V least = V::all(-FLT_MAX);
  const int rest = static_cast<int>(n % L);
  const int64_t full = n - rest;
  V best = least, other = least;  // two chains: a max has to wait for the one before it
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    best = max(V::load(s + i), best);
    other = max(V::load(s + i + L), other);
  }
  if (i < full) best = max(V::load(s + i), best);
  if (rest != 0) other = max(V::load(s + full, rest, least), other);
  *maximum = largest(max(best, other));

  const V top = V::all(*maximum);
  V sum = V::zero();
  for (i = 0; i < full; i += L) {
    const V p = exp(V::load(s + i) - top);
    p.store(s + i);
    sum = sum + p;
  }
  if (rest != 0) {
    const V p = exp(V::load(s + full, rest, top) - top);
    p.store(s + full, rest);
    float lanes[L];
    p.store(lanes);
    for (int lane = rest; lane < L; lane++) lanes[lane] = 0;
    sum = sum + V::load(lanes);
  }
  return total(sum);
}

template <class V>
static float exponential(float x) {
  float lanes[V::kLanes];
  exp(V::all(x)).store(lanes);
  return lanes[0];
}

// k[d][lane]: a panel of keys, one head, of which n > 0 are left. Lanes behind the last are zeros.
template <class V>
static void pack_panel(const Matrix& k, int64_t column, int32_t head_dim, const int64_t* keys,
                       int64_t n, float* out) {
  constexpr int L = V::kLanes, W = V::kPanelVectors * L;
  for (int j = 0; j < W; j += L) {
    const float* rows[L];
    for (int i = 0; i < L; i++) rows[i] = j + i < n ? k.f32(keys[j + i]) + column : kZeroHead;
    V::transpose(rows, head_dim, out + j, W);
  }
}

template <class V>
static void pack_values(const Matrix& v, int64_t column, int32_t head_dim, const int64_t* keys,
                        int64_t n, float* out, int64_t stride) {
  constexpr int L = V::kLanes;
  const int rest = head_dim % L;
  for (int64_t i = 0; i < n; i++, out += stride) {
    const float* row = v.f32(keys[i]) + column;
    int32_t d = 0;
    for (; d + L <= head_dim; d += L) V::load(row + d).store(out + d);
    if (rest != 0) V::load(row + d, rest, V::zero()).store(out + d);
  }
}

// Scores of `rows` query rows against one panel, whose first key is the segment's key `at`.
template <class V>
static void score_panel(const QueryRow* row, const int64_t* sees, int64_t rows, const float* k,
                        int64_t at, int32_t head_dim, float scale, float* scores) {
  constexpr int R = V::kTileRows;
  for (int64_t t = 0; t < rows; t += R) {
    const int64_t count = rows - t < R ? rows - t : R;
    if (sees[t + count - 1] > at)
      score<V>(static_cast<int>(count), row + t, k, head_dim, scale,
               scores + t * kAttentionSegment + at);
  }
}

// Adds n values, the first of them the segment's key `at`, to the sums of `rows` query rows.
template <class V>
static void weigh_chunk(const float* scores, const int64_t* sees, int64_t rows, const ValueRows& v,
                        int64_t at, int64_t n, float* sums, int64_t stride) {
  constexpr int R = V::kTileRows;
  const auto seen = [&](int64_t row) {
    const int64_t left = sees[row] - at;
    return left < 0 ? 0 : left < n ? left : n;
  };
  for (int64_t t = 0; t < rows; t += R) {
    const int64_t count = rows - t < R ? rows - t : R;
    const float* p = scores + t * kAttentionSegment + at;
    // What all rows of the tile see, then the rest row by row: a value that a row does not see may
    // be NaN, and would come through a weight of zero.
    const int64_t common = seen(t);
    if (common > 0) value<V>(static_cast<int>(count), p, v, common, sums + t * stride, stride);
    const ValueRows tail{v.data, v.stride, v.rows + common};
    for (int64_t r = 1; r < count; r++) {
      const int64_t more = seen(t + r) - common;
      if (more > 0)
        value<V>(1, p + r * kAttentionSegment + common, tail, more, sums + (t + r) * stride, stride);
    }
  }
}

// The softmax of each row's scores of a segment; sums start from zero.
template <class V>
static void begin_sums(const AttentionScratch& s, int64_t rows) {
  for (int64_t r = 0; r < rows; r++) {
    if (s.sees[r] != 0)
      s.sum[r] = exponentials<V>(s.scores + r * kAttentionSegment, s.sees[r], &s.top[r]);
    float* sums = s.sums + r * s.stride;
    for (int64_t c = 0; c < s.stride; c += V::kLanes) V::zero().store(sums + c);
  }
}

// Merges a segment's sums into those of the segments before it. Row r of the group is row g + r of
// the block.
template <class V>
static void merge_sums(const AttentionScratch& s, int64_t g, int64_t rows, bool first) {
  constexpr int L = V::kLanes;
  for (int64_t r = 0; r < rows; r++) {
    if (s.sees[r] == 0) continue;
    float* acc = s.acc + (g + r) * s.stride;
    const float* sums = s.sums + r * s.stride;
    float& top = s.all_top[g + r];
    float& sum = s.all_sum[g + r];
    if (first) {
      top = s.top[r];
      sum = s.sum[r];
      for (int64_t c = 0; c < s.stride; c += L) V::load(sums + c).store(acc + c);
      continue;
    }
    const float higher = s.top[r] > top ? s.top[r] : top;
    const float a = exponential<V>(top - higher), b = exponential<V>(s.top[r] - higher);
    top = higher;
    sum = sum * a + s.sum[r] * b;
    for (int64_t c = 0; c < s.stride; c += L)
      fma(V::load(sums + c), V::all(b), V::load(acc + c) * V::all(a)).store(acc + c);
  }
}

template <class V>
static void write_rows(const QueryBlock& b, const AttentionScratch& s, bool no_keys) {
  constexpr int L = V::kLanes;
  for (int64_t r = 0; r < b.rows * b.heads; r++) {
    float* out = b.row[r].out;
    const float* acc = s.acc + r * s.stride;
    const V share = no_keys ? V::zero() : V::all(1.0f / s.all_sum[r]);
    int32_t d = 0;
    for (; d + L <= b.head_dim; d += L) (no_keys ? share : V::load(acc + d) * share).store(out + d);
    if (const int n = b.head_dim - d)
      (no_keys ? share : V::load(acc + d) * share).store(out + d, n);
  }
}

// How many of the segment's n keys, which begin at base, each row sees.
static inline void count_seen(const QueryRow* row, int64_t rows, int64_t base, int64_t n,
                              int64_t* sees) {
  for (int64_t r = 0; r < rows; r++) {
    const int64_t left = row[r].keys - base;
    sees[r] = left < 0 ? 0 : left < n ? left : n;
  }
}

// Many query rows of one kv head: keys and values of a segment are packed once for all of them.
template <class V, class Keys>
static void attend_rows(const QueryBlock& b, Keys keys, const AttentionScratch& s) {
  constexpr int W = V::kPanelVectors * V::kLanes;
  int64_t base = 0;
  for (int64_t n; (n = keys.next(s.keys)) > 0; base += n) {
    for (int64_t at = 0; at < n; at += W)
      pack_panel<V>(b.k, b.column, b.head_dim, s.keys + at, n - at, s.k + at * b.head_dim);
    pack_values<V>(b.v, b.column, b.head_dim, s.keys, n, s.v, s.stride);

    for (int64_t g = 0; g < b.rows; g += kAttentionGroup) {
      const int64_t rows = b.rows - g < kAttentionGroup ? b.rows - g : kAttentionGroup;
      count_seen(b.row + g, rows, base, n, s.sees);
      for (int64_t at = 0; at < n; at += W)
        score_panel<V>(b.row + g, s.sees, rows, s.k + at * b.head_dim, at, b.head_dim, b.scale,
                       s.scores);
      begin_sums<V>(s, rows);
      for (int64_t at = 0; at < n; at += kAttentionChunk) {
        const ValueRows v{s.v + at * s.stride, s.stride, s.counting};
        const int64_t count = n - at < kAttentionChunk ? n - at : kAttentionChunk;
        weigh_chunk<V>(s.scores, s.sees, rows, v, at, count, s.sums, s.stride);
      }
      merge_sums<V>(s, g, rows, base == 0);
    }
  }
  write_rows<V>(b, s, base == 0);
}

// Few query rows (decode), a range of kv heads together: what bounds it is reading the cache, so
// that goes through all heads of some keys before it turns to the next keys, and values are read
// where they lie. head_dim is a multiple of kLanes.
template <class V, class Keys>
static void attend_heads(const QueryBlock& b, Keys keys, const AttentionScratch& s) {
  constexpr int W = V::kPanelVectors * V::kLanes;
  constexpr int64_t kValues = 16;
  const int64_t rows = b.rows * b.heads;
  int64_t base = 0;
  for (int64_t n; (n = keys.next(s.keys)) > 0; base += n) {
    count_seen(b.row, rows, base, n, s.sees);
    for (int64_t at = 0; at < n; at += W) {
      for (int64_t h = 0; h < b.heads; h++) {
        const int64_t r = h * b.rows;
        pack_panel<V>(b.k, b.column + h * b.head_dim, b.head_dim, s.keys + at, n - at, s.k);
        score_panel<V>(b.row + r, s.sees + r, b.rows, s.k, at, b.head_dim, b.scale,
                       s.scores + r * kAttentionSegment);
      }
    }
    begin_sums<V>(s, rows);
    for (int64_t at = 0; at < n; at += kValues) {
      const int64_t count = n - at < kValues ? n - at : kValues;
      for (int64_t h = 0; h < b.heads; h++) {
        const int64_t r = h * b.rows;
        const ValueRows v{b.v.f32() + b.column + h * b.head_dim, b.v.stride, s.keys + at};
        weigh_chunk<V>(s.scores + r * kAttentionSegment, s.sees + r, b.rows, v, at, count,
                       s.sums + r * s.stride, s.stride);
      }
    }
    merge_sums<V>(s, 0, rows, base == 0);
  }
  write_rows<V>(b, s, base == 0);
}

template <class V, class Tasks, class Keys>
static void attend(Tasks tasks, const AttentionScratch& s) {
  QueryBlock block;
  for (Keys keys; tasks.next(&block, &keys);) {
    if (block.few)
      attend_heads<V>(block, keys, s);
    else
      attend_rows<V>(block, keys, s);
  }
}

template <class V>
void attention_simd(const AttentionArgs& a, Worker& w) {
  attend<V, AttentionTasks, MaskedKeys>(AttentionTasks(a, w, V::kLanes),
                                        AttentionScratch(w.scratch, a.head_dim, V::kLanes));
}

template <class V>
void paged_attention_simd(const PagedAttentionArgs& a, Worker& w) {
  attend<V, PagedAttentionTasks, PagedKeys>(PagedAttentionTasks(a, w, V::kLanes),
                                            AttentionScratch(w.scratch, a.head_dim, V::kLanes));
}

template <class V>
Workspace attention_workspace_simd(const AttentionArgs& a, int) {
  return {AttentionScratch(nullptr, a.head_dim, V::kLanes).bytes, 0};
}

template <class V>
Workspace paged_attention_workspace_simd(const PagedAttentionArgs& a, int) {
  return {AttentionScratch(nullptr, a.head_dim, V::kLanes).bytes, 0};
}

#undef L3V_UNROLL

}  // namespace l3v::cpu
#endif
