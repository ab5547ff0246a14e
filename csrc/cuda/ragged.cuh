// ragged.cuh: sequences of a step by their offsets, and of a paged cache by their page tables. All
// of it is device data that only the running kernel can check; every block checks it alike.
#ifndef L3V_CUDA_RAGGED_CUH
#define L3V_CUDA_RAGGED_CUH

#include "launch.cuh"

namespace l3v::cuda {

// The sequence that owns a row, -1 when none does, and how many sequences from the first on are sound:
// their offsets do not fall and stay in 0..rows. Of others no row is known.
struct Owner {
  int64_t sound, sequence;
};

// Warp: 32 sequences at a time.
__device__ inline Owner owner_of(const Matrix& offsets, int64_t sequences, int64_t rows, int64_t row) {
  Owner found{sequences, -1};
  for (int64_t first = 0; first < sequences && found.sound == sequences; first += 32) {
    const int64_t s = first + threadIdx.x % 32;
    bool broken = false, owns = false;
    if (s < sequences) {
      const int32_t begin = *offsets.i32(s), end = *offsets.i32(s + 1);
      broken = begin < 0 || end < begin || end > rows;
      owns = row >= begin && row < end;
    }
    const int broken_at = __ffs(static_cast<int>(__ballot_sync(~0u, broken)));  // lane + 1, 0: none
    const int owned_at = __ffs(static_cast<int>(__ballot_sync(~0u, owns)));
    if (broken_at != 0) found.sound = first + broken_at - 1;
    if (owned_at != 0 && (broken_at == 0 || owned_at < broken_at)) found.sequence = first + owned_at - 1;
  }
  return found;
}

// Of all sequences cut into tiles of so many rows each, one behind the other.
struct Tile {
  int64_t sequence, first;  // its first row in the sequence; sequence -1: there is no tile of this index
  int64_t broken;           // the first sequence that is not sound, -1: none; seen by tile 0 at least
  bool of_first;            // and whether it is so in offsets; else in others
};

// Warp. others: offsets of the same sequences in rows of another matrix, or null.
__device__ inline Tile tile_of(const Matrix& offsets, int64_t rows, const Matrix* others, int64_t other_rows,
                               int64_t sequences, int64_t each, int64_t index) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  Tile tile{-1, 0, -1, false};
  int64_t before = 0;  // tiles of sequences before these 32
  for (int64_t first = 0; first < sequences && tile.broken < 0 && (tile.sequence < 0 || index == 0); first += 32) {
    const int64_t s = first + lane;
    bool broken = false, in_first = false;
    int tiles = 0;
    if (s < sequences) {
      const int32_t begin = *offsets.i32(s), end = *offsets.i32(s + 1);
      in_first = begin < 0 || end < begin || end > rows;
      broken = in_first;
      if (others != nullptr) {
        const int32_t other = *others->i32(s), other_end = *others->i32(s + 1);
        broken = broken || other < 0 || other_end < other || other_end > other_rows;
      }
      if (!broken) tiles = static_cast<int>((end - begin + each - 1) / each);
    }
    const int broken_at = __ffs(static_cast<int>(__ballot_sync(~0u, broken)));  // lane + 1, 0: none
    if (broken_at != 0) {
      tile.broken = first + broken_at - 1;
      if (lane >= broken_at) tiles = 0;
    }
    tile.of_first = (__ballot_sync(~0u, in_first) >> (broken_at == 0 ? 0 : broken_at - 1) & 1) != 0;
    int through = tiles;  // of these sequences up to this one
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      const int more = __shfl_up_sync(~0u, through, lanes);
      if (lane >= lanes) through += more;
    }
    const int64_t wanted = index - before;
    const int here = __ffs(static_cast<int>(__ballot_sync(~0u, wanted >= through - tiles && wanted < through)));
    const int owner = here == 0 ? 0 : here - 1;
    const int its_first = __shfl_sync(~0u, through - tiles, owner), all = __shfl_sync(~0u, through, 31);
    if (here != 0) {
      tile.sequence = first + owner;
      tile.first = (wanted - its_first) * each;
    }
    before += all;
  }
  return tile;
}

// Kinds of the paged ops' faults, as words behind Queue::faults.
enum PagedFault { kFaultOffsets, kFaultPosition, kFaultPage };

// A sequence of the paged cache in one step: row begin + j has position first + j.
struct PagedSequence {
  int64_t begin, first, length;
};

template <class Args>
__device__ PagedSequence sequence_at(const Args& a, int64_t s) {
  const int64_t begin = *a.q_offsets.i32(s), count = *a.q_offsets.i32(s + 1) - begin;
  const int64_t length = *a.lengths.i32(s);
  return {begin, length - count, length};
}

// Whether a sequence has rows, at positions that its table has. Idle ones have none; others are noted.
template <class Args>
__device__ bool in_table(const Args& a, int64_t s, const PagedSequence& seq, unsigned long long* faults) {
  if (seq.length == 0 || seq.first == seq.length) return false;
  if (seq.first >= 0 && seq.length <= a.max_pages * a.page_size) return true;
  note_fault(faults + kFaultPosition, s, seq.first < 0 ? seq.first : seq.length - 1);
  return false;
}

// Lowers *bad to a page's place in the table over its value, where that is no page; one of so many
// threads does its part of the sequence's pages.
template <class Args>
__device__ void note_bad_page(const Args& a, int64_t s, int64_t thread, int64_t threads, unsigned long long* bad) {
  const int64_t length = *a.lengths.i32(s);
  for (int64_t p = thread; p <= (length - 1) / a.page_size; p += threads) {
    const int32_t page = a.page_table.i32(s)[p];
    if (page < 0 || page >= a.pages) note_fault(bad, p, page);
  }
}
__device__ inline int32_t page_of(unsigned long long bad) {
  return static_cast<int32_t>(static_cast<uint32_t>(bad) ^ 0x80000000u);
}

// Warp. Reads sequence s. False: no row of it may be worked on, as it is idle or broken (then the fault
// is noted). The pages of all its positions are checked, or those of this step alone.
template <class Args>
__device__ bool paged_sequence(const Args& a, int64_t s, bool all_pages, unsigned long long* faults, PagedSequence* out) {
  *out = sequence_at(a, s);
  if (!in_table(a, s, *out, faults)) return false;
  const int64_t last = (out->length - 1) / a.page_size;
  for (int64_t p = all_pages ? 0 : out->first / a.page_size; p <= last; p += 32) {
    const int64_t mine = p + threadIdx.x % 32;
    const int32_t page = mine <= last ? a.page_table.i32(s)[mine] : 0;
    const int bad = __ffs(static_cast<int>(__ballot_sync(~0u, page < 0 || page >= a.pages)));
    if (bad == 0) continue;
    const int32_t first_bad = __shfl_sync(~0u, page, bad - 1);
    if (threadIdx.x % 32 == 0) note_fault(faults + kFaultPage, s, first_bad);
    return false;
  }
  return true;
}

// The cache row of a position.
template <class Args>
__device__ int64_t cache_row(const Args& a, int64_t s, int64_t position) {
  return static_cast<int64_t>(a.page_table.i32(s)[position / a.page_size]) * a.page_size + position % a.page_size;
}

}  // namespace l3v::cuda
#endif
