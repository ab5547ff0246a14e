// weight_blocks.cpp: packing and reading back of block types.
//
// A row's block is copied field by field into words. Words of quants then change fields with each
// other: nibbles of two words, two-bit fields of four, bits of eight. Such a transpose undoes itself,
// so that reading back is the same steps in the other order. The words then go to the row's lane of
// the packed block, which stays in the first cache while the 64 rows of a panel are gone through.
#include "weight_blocks.h"

#include <algorithm>
#include <cstring>

#include "blocks.h"

namespace l3v::cpu {
namespace {

// Bits `m` of a, up by n, change places with the same bits of b.
inline void exchange(uint32_t* a, uint32_t* b, int n, uint32_t m) {
  const uint32_t t = (*a >> n ^ *b) & m;
  *b ^= t;
  *a ^= t << n;
}

// Field j of word i changes places with field i of word j, in every byte: 2 words of 4-bit fields,
// 4 of 2 bits, 8 of single bits.
inline void transpose_nibbles(uint32_t* a, uint32_t* b) { exchange(a, b, 4, 0x0f0f0f0fu); }
inline void transpose_pairs(uint32_t* const (&w)[4]) {
  for (int i = 0; i < 2; i++) exchange(w[i], w[i + 2], 4, 0x0f0f0f0fu);
  for (int i = 0; i < 4; i += 2) exchange(w[i], w[i + 1], 2, 0x33333333u);
}
inline void transpose_bits(uint32_t* const (&w)[8]) {
  for (int i = 0; i < 4; i++) exchange(w[i], w[i + 4], 4, 0x0f0f0f0fu);
  for (int i = 0; i < 8; i += 4)
    for (int j = i; j < i + 2; j++) exchange(w[j], w[j + 2], 2, 0x33333333u);
  for (int i = 0; i < 8; i += 2) exchange(w[i], w[i + 1], 1, 0x55555555u);
}

// The word's halves, bit by bit in turn: as five bits of an index, a turn up by one.
inline uint32_t shuffle(uint32_t x) {
  const auto step = [&](int n, uint32_t m) {
    const uint32_t t = (x ^ x >> n) & m;
    x ^= t ^ t << n;
  };
  step(8, 0x0000ff00u), step(4, 0x00f000f0u), step(2, 0x0c0c0c0cu), step(1, 0x22222222u);
  return x;
}
// The fifth bits of Q5_0 and Q5_1: bit 4g + i, of element 4g + i, to bit g of byte i, a turn by three;
// two turns more lead back.
inline uint32_t bits_to_bytes(uint32_t x) { return shuffle(shuffle(shuffle(x))); }
inline uint32_t bytes_to_bits(uint32_t x) { return shuffle(shuffle(x)); }

template <int32_t kType>
struct RowBlock {
  static constexpr BlockShape kShape = block_shape(kType);
  static constexpr int kFileBytes = block_of(kType).bytes;
  static constexpr int kChunks = block_of(kType).elements / kChunk;
  static constexpr int kWords = kShape.scale_words + kChunks * kShape.chunk_words();
  static constexpr int kPairsAt = kShape.bytes + kShape.nibbles, kBitsAt = kPairsAt + kShape.pairs;
  static_assert(2 * kShape.halves + 4 * kWords == kFileBytes, "every byte has a place");

  uint16_t halves[kShape.halves];
  uint32_t words[kWords];

  uint32_t* chunk(int n) { return words + kShape.scale_words + n * kShape.chunk_words(); }

  // The fields of the file's block in its order, each with its place here: each(bytes, place). Words of
  // quants that change fields with each other are put where their planes will be.
  template <class Each>
  void fields(Each each) {
    const auto quants = [&](int at, int n) {  // of every chunk, one behind the other
      for (int c = 0; c < kChunks; c++) each(4 * n, chunk(c) + at);
    };
    const auto two_bits = [&] {  // word g of 128 elements: group g of four chunks
      for (int i = 0; i < 16; i++) each(4, chunk(i / 8 * 4 + i % 4) + kPairsAt + i % 8 / 4);
    };
    switch (kType) {
      case L3V_Q2_K:
        each(16, words);
        two_bits();
        each(4, halves);
        break;
      case L3V_Q3_K:
        quants(kBitsAt, 1);
        two_bits();
        each(12, words);
        each(2, halves);
        break;
      case L3V_Q6_K:
        // 64 bytes for 128 elements: group g of chunks t and t + 2 in word 8t + g, t = 0 or 1. Groups
        // two apart will share a word.
        for (int i = 0; i < 32; i++) {
          const int t = i / 8 % 2, g = i % 8;
          each(4, chunk(i / 16 * 4 + t + (g & 2)) + g / 4 * 2 + g % 2);
        }
        two_bits();
        each(16, words);
        each(2, halves);
        break;
      case L3V_IQ4_XS:
        each(4, halves);
        each(4, words);
        quants(0, 4);
        break;
      case L3V_Q4_K:
      case L3V_Q5_K:
        each(4, halves);
        each(12, words);
        if (kShape.bits != 0) quants(kBitsAt, 1);
        quants(0, 4);
        break;
      default:  // one chunk
        each(2 * kShape.halves, halves);
        if (kShape.bits != 0) each(4, chunk(0) + kBitsAt);
        each(4 * kPairsAt, chunk(0));
    }
  }

  // Both ways.
  void transpose() {
    if (kType == L3V_Q8_0)
      for (uint32_t& w : words) w ^= 0x80808080u;
    if (kType == L3V_Q4_K || kType == L3V_Q5_K)  // a low and a high half are two chunks
      for (int c = 0; c < kChunks; c += 2)
        for (int i = 0; i < 4; i++) transpose_nibbles(chunk(c) + i, chunk(c + 1) + i);
    if (kType == L3V_Q6_K)
      for (int c = 0; c < kChunks; c++)
        for (int i = 0; i < 4 && (c & 2) == 0; i++) transpose_nibbles(chunk(c) + i, chunk(c + 2) + i);
    if (kShape.pairs != 0)
      for (int c = 0; c < kChunks; c += 4)
        for (int i = kPairsAt; i < kBitsAt; i++)
          transpose_pairs({chunk(c) + i, chunk(c + 1) + i, chunk(c + 2) + i, chunk(c + 3) + i});
    if (kShape.bits != 0 && kChunks == 8)
      transpose_bits({chunk(0) + kBitsAt, chunk(1) + kBitsAt, chunk(2) + kBitsAt, chunk(3) + kBitsAt,
                      chunk(4) + kBitsAt, chunk(5) + kBitsAt, chunk(6) + kBitsAt, chunk(7) + kBitsAt});
  }

  void from_file(const char* p) {
    fields([&](int bytes, void* place) {
      std::memcpy(place, p, static_cast<size_t>(bytes));
      p += bytes;
    });
    transpose();
    if (kShape.bits != 0 && kChunks == 1) *(chunk(0) + kBitsAt) = bits_to_bytes(*(chunk(0) + kBitsAt));
  }
  void to_file(char* p) {
    if (kShape.bits != 0 && kChunks == 1) *(chunk(0) + kBitsAt) = bytes_to_bits(*(chunk(0) + kBitsAt));
    transpose();
    fields([&](int bytes, const void* place) {
      std::memcpy(p, place, static_cast<size_t>(bytes));
      p += bytes;
    });
  }

  // Lane `lane` of a packed block.
  void to_panel(char* block, int64_t lane) const {
    uint16_t* const h = reinterpret_cast<uint16_t*>(block) + lane;
    for (int i = 0; i < kShape.halves; i++) h[i * kPanel] = halves[i];
    uint32_t* const w = reinterpret_cast<uint32_t*>(block + kShape.halves * kPanel * 2) + lane;
    for (int i = 0; i < kWords; i++) w[i * kPanel] = words[i];
  }
  void from_panel(const char* block, int64_t lane) {
    const uint16_t* const h = reinterpret_cast<const uint16_t*>(block) + lane;
    for (int i = 0; i < kShape.halves; i++) halves[i] = h[i * kPanel];
    const uint32_t* const w = reinterpret_cast<const uint32_t*>(block + kShape.halves * kPanel * 2) + lane;
    for (int i = 0; i < kWords; i++) words[i] = w[i * kPanel];
  }
};

// Every block of rows [first, first + rows), those of a packed block together:
// each(packed block, lane, offset of the file's block).
template <int32_t kType, class Each>
void for_blocks(const PackedWeight& w, int64_t first, int64_t rows, Each each) {
  constexpr int64_t kBytes = block_of(kType).bytes;
  const int64_t blocks = w.cols / block_of(kType).elements;
  for (int64_t row = first; row < first + rows;) {
    const int64_t lane = row % kPanel, count = std::min(kPanel - lane, first + rows - row);
    char* const panel = w.data + row / kPanel * w.panel_bytes;
    for (int64_t b = 0; b < blocks; b++)
      for (int64_t r = 0; r < count; r++)
        each(panel + b * kBytes * kPanel, lane + r, ((row - first + r) * blocks + b) * kBytes);
    row += count;
  }
}

}  // namespace

void weight_blocks_write(PackedWeight& w, int64_t first, int64_t rows, const char* from) {
  with_block_type(w.dtype, [&](auto tag) {
    for_blocks<tag.type>(w, first, rows, [&](char* block, int64_t lane, int64_t offset) {
      RowBlock<tag.type> b;
      b.from_file(from + offset);
      b.to_panel(block, lane);
    });
  });
}

void weight_blocks_read(const PackedWeight& w, int64_t first, int64_t rows, char* to) {
  with_block_type(w.dtype, [&](auto tag) {
    for_blocks<tag.type>(w, first, rows, [&](const char* block, int64_t lane, int64_t offset) {
      RowBlock<tag.type> b;
      b.from_panel(block, lane);
      b.to_file(to + offset);
    });
  });
}

void weight_blocks_row(const PackedWeight& w, int64_t row, float* out) {
  with_block_type(w.dtype, [&](auto tag) {
    using U = Unpack<OneRow, tag.type>;
    const char* block = w.at(row / kPanel, 0);
    for (int64_t k = 0; k < w.cols; k += U::kElements, block += U::kBytes) {
      RowValues<tag.type> v;
      v.unpack(block, static_cast<int>(row % kPanel));
      for (int i = 0; i < U::kElements; i++) out[k + i] = v.value(i);
    }
  });
}

}  // namespace l3v::cpu
