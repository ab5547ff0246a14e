// chunks.h: how the keys of a paged sequence are cut into chunks, whose softmaxes are computed each
// on its own and folded in order.
//
// The cut depends on a key's position alone, so a row gives the same bits however many rows are
// computed with it and wherever its chunks run. The first 32 chunks have base keys each; from there
// on each doubling of the position is cut into 32. So a short text has chunks enough to fill a card
// (1024 keys: 16 chunks of 64 for each head of k), the chunk of a long one is at most 1/32 of what
// comes before it, and the partial results stay few: 224 at 131,072 positions.
#ifndef L3V_CUDA_CHUNKS_H
#define L3V_CUDA_CHUNKS_H

#include "../common/backend.h"

namespace l3v::cuda {

constexpr int64_t kChunksAnOctave = 32;

// The first position of a chunk; also where the one before ends.
L3V_BOTH constexpr int64_t chunk_begin(int64_t chunk, int64_t base) {
  if (chunk < kChunksAnOctave) return chunk * base;
  return (kChunksAnOctave + chunk % kChunksAnOctave) * base << (chunk / kChunksAnOctave - 1);
}

L3V_BOTH constexpr int64_t chunk_of(int64_t position, int64_t base) {
  int64_t i = position / base, octaves = 0;
  for (; i >= 2 * kChunksAnOctave; i /= 2) octaves++;
  return i + octaves * kChunksAnOctave;
}

// Of so many positions, at least one.
L3V_BOTH constexpr int64_t chunks_of(int64_t positions, int64_t base) { return chunk_of(positions - 1, base) + 1; }

static_assert(chunk_of(0, 64) == 0 && chunk_of(63, 64) == 0 && chunk_of(64, 64) == 1);
static_assert(chunk_begin(32, 64) == 2048 && chunk_begin(64, 64) == 4096 && chunk_begin(65, 64) == 4096 + 128);
static_assert(chunk_of(4095, 64) == 63 && chunk_of(4096, 64) == 64 && chunk_of(4096 + 127, 64) == 64 && chunk_of(4096 + 128, 64) == 65);
static_assert(chunks_of(131072, 64) == 224);

}  // namespace l3v::cuda
#endif
