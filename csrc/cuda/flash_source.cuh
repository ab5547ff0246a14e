// flash_source.cuh: what the tensor-core attention kernels work on: where the rows of a tile of
// queries lie, which keys they see, and in which rows of k and v those are. Bidirectional and paged
// causal attention differ in this alone.
//
// A tile holds whole query rows of one sequence with all query heads of one head of k, row after row:
// of a group of G heads, row r of the tile is query r / G of the tile and head r % G of the group. So
// the heads of a group share every key that is read.
#ifndef L3V_CUDA_FLASH_SOURCE_CUH
#define L3V_CUDA_FLASH_SOURCE_CUH

#include <type_traits>

#include "chunks.h"
#include "element.cuh"
#include "ops.h"
#include "ragged.cuh"

namespace l3v::cuda {

constexpr int64_t kFlashChunk = 128;  // keys of the first chunks of a paged sequence (chunks.h)

// The head sizes of the kernels on tensor cores; others are for the plain ones.
inline bool flash_head(int32_t head_dim) {
  return head_dim == 64 || head_dim == 72 || head_dim == 80 || head_dim == 96 || head_dim == 128;
}
template <class Launch>
void for_flash_head(int32_t head_dim, const Launch& launch) {
  if (head_dim == 64) launch(std::integral_constant<int, 64>());
  else if (head_dim == 72) launch(std::integral_constant<int, 72>());
  else if (head_dim == 80) launch(std::integral_constant<int, 80>());
  else if (head_dim == 96) launch(std::integral_constant<int, 96>());
  else launch(std::integral_constant<int, 128>());
}

constexpr int32_t kTogether = 128;  // keys that one copy of TMA brings at most

struct FlashTile {
  int64_t sequence;
  int64_t first;     // row of q of the tile's first query
  int64_t queries;   // 0: the tile has no work
  int64_t keys;      // that its last query sees, from the sequence's first on; 0: the rows become zeros
  int64_t position;  // of its first query among the keys
  int64_t key_row;   // of the sequence's first key in k and v, where they are not paged
  unsigned long long bad_page;  // the first one's place in the table over its value
};

// Attention of every query to every key of its sequence.
struct EveryKey {
  static constexpr bool kCausal = false;
  Matrix q, k, v, out, q_offsets, k_offsets, key_mask;
  int64_t q_rows, k_rows, sequences;
  int32_t group, kv_heads;
  float scale;  // of scores, for exp2

  static EveryKey of(const AttentionArgs& a) {
    return {a.q,      a.k,      a.v,         a.out,               a.q_offsets, a.k_offsets,  a.key_mask,
            a.q_rows, a.k_rows, a.sequences, a.heads / a.kv_heads, a.kv_heads,  a.scale * 1.4426950408889634f};
  }
  int64_t rows() const { return q_rows; }
  int64_t key_rows() const { return k_rows; }
  int32_t together() const { return kTogether; }  // keys whose rows lie one behind the other

  // All threads of the block; the result is in *tile behind the next barrier. each: queries of a tile.
  __device__ void find(int64_t index, int64_t each, unsigned long long* faults, FlashTile* tile) const {
    if (threadIdx.x >= 32) return;
    const Tile found = tile_of(q_offsets, q_rows, &k_offsets, k_rows, sequences, each, index);
    if (threadIdx.x != 0) return;
    if (found.broken >= 0) {
      const Matrix& offsets = found.of_first ? q_offsets : k_offsets;
      note_fault(faults, found.broken, *offsets.i32(found.broken + 1));
    }
    *tile = {};
    if (found.sequence < 0) return;
    const int64_t begin = *q_offsets.i32(found.sequence), count = *q_offsets.i32(found.sequence + 1) - begin;
    tile->sequence = found.sequence;
    tile->first = begin + found.first;
    tile->queries = count - found.first < each ? count - found.first : each;
    tile->key_row = *k_offsets.i32(found.sequence);
    tile->keys = *k_offsets.i32(found.sequence + 1) - tile->key_row;
  }
  __device__ void check(FlashTile*, unsigned long long*) const {}

  __device__ bool masked() const { return static_cast<bool>(key_mask); }
  // Of a key that the tile's rows may see; -1: it counts for nobody.
  __device__ int64_t row_of(const FlashTile& tile, int64_t key) const {
    const int64_t row = tile.key_row + key;
    return !key_mask || *key_mask.u8(row) != 0 ? row : -1;
  }
  // Where the rows of keys begin that lie together.
  __device__ int64_t first_row(const FlashTile& tile, int64_t key) const { return tile.key_row + key; }
  // The last key that query i of the tile sees.
  __device__ int64_t last(const FlashTile& tile, int64_t) const { return tile.keys - 1; }
};

// Attention of each query to the keys of a paged cache up to its own position.
struct PagedCausal {
  static constexpr bool kCausal = true;
  Matrix q, k, v, out, page_table, lengths, q_offsets;
  int64_t q_rows, sequences, pages, max_pages;
  int32_t page_size, page_shift;
  int32_t group, kv_heads;
  float scale;
  int64_t few;  // sequences with at most so many queries are somebody else's work

  static PagedCausal of(const PagedAttentionArgs& a, int64_t few) {
    int32_t shift = 0;
    while (1 << shift < a.page_size) shift++;
    return {a.q,     a.k_cache,   a.v_cache, a.out, a.page_table, a.lengths, a.q_offsets, a.rows, a.sequences, a.pages,
            a.max_pages, a.page_size, shift, a.heads / a.kv_heads, a.kv_heads, a.scale * 1.4426950408889634f, few};
  }
  int64_t rows() const { return q_rows; }
  int64_t key_rows() const { return pages * page_size; }
  int32_t together() const { return page_size < kTogether ? page_size : kTogether; }

  // The longest tiles, those of the last queries, first.
  __device__ void find(int64_t index, int64_t each, unsigned long long* faults, FlashTile* tile) const {
    if (threadIdx.x >= 32) return;
    const Tile found = tile_of(q_offsets, q_rows, nullptr, 0, sequences, each, gridDim.x - 1 - index);
    if (threadIdx.x != 0) return;
    if (found.broken >= 0) note_fault(faults + kFaultOffsets, found.broken, *q_offsets.i32(found.broken + 1));
    *tile = {};
    if (found.sequence < 0) return;
    const int64_t begin = *q_offsets.i32(found.sequence), count = *q_offsets.i32(found.sequence + 1) - begin;
    if (count <= few) return;
    tile->sequence = found.sequence;
    tile->first = begin + found.first;
    tile->queries = count - found.first < each ? count - found.first : each;
    tile->bad_page = kNoFault;
    const PagedSequence seq = sequence_at(*this, found.sequence);
    if (!in_table(*this, found.sequence, seq, faults)) return;
    tile->position = seq.first + found.first;
    tile->keys = tile->position + tile->queries;
  }

  // All threads, between two barriers: a sequence with a bad page gives zeros.
  __device__ void check(FlashTile* tile, unsigned long long* faults) const {
    if (tile->keys > 0) note_bad_page(*this, tile->sequence, threadIdx.x, blockDim.x, &tile->bad_page);
    __syncthreads();
    if (threadIdx.x == 0 && tile->keys > 0 && tile->bad_page != kNoFault) {
      note_fault(faults + kFaultPage, tile->sequence, page_of(tile->bad_page));
      tile->keys = 0;
    }
  }

  __device__ bool masked() const { return false; }
  __device__ int64_t row_of(const FlashTile& tile, int64_t key) const {
    const int32_t page = page_table.i32(tile.sequence)[key >> page_shift];
    if (page < 0 || page >= pages) return -1;
    return (static_cast<int64_t>(page) << page_shift) + (key & (page_size - 1));
  }
  __device__ int64_t first_row(const FlashTile& tile, int64_t key) const { return row_of(tile, key); }
  __device__ int64_t last(const FlashTile& tile, int64_t query) const { return tile.position + query; }
};

// More than there are tiles of so many queries, whatever the sequences are.
template <class Source>
unsigned tiles_at_most(const Source& s, int64_t each) {
  const int64_t tiles = s.rows() / each + s.sequences;
  return static_cast<unsigned>(tiles < s.rows() ? tiles : s.rows());
}

}  // namespace l3v::cuda
#endif
