// blocks.h: how the block types of GGUF files lie in a panel of 64 rows, and how a kernel reads them.
//
// A packed block holds the blocks of 64 rows at one place along k, bit for bit, in another order.
// All of it is planes: a 16-bit or a 32-bit word of each row, side by side.
//   halves      [n][64] of 16 bits: the float16 scales (and scales_h of IQ4_XS)
//   scale words [n][64] of 32 bits: what the file packs as sub-scales and minima, in its byte order
//   then for each 32 elements of k, a chunk, its quants:
//   bytes       [8][64]: word g has elements 4g .. 4g + 3 (Q8_0, with the sign bit turned over)
//   nibbles     [4][64]: two groups of four elements a word, one in the low halves of its bytes, one
//               in the high ones, four groups apart; two apart where 16 elements share a scale
//   pairs       [2][64]: word h has the two-bit fields of groups 4h .. 4h + 3, field by field
//   bits        [1][64]: bit g of byte i is the top bit of element 4g + i
// So a 32-bit lane is one row's four neighbours along k, as the dot products of bytes take them, and
// a few shifts and masks turn a plane into unsigned quants of 64 rows, without a step across lanes.
//
// An element's value is scale * (q - zero) + offset: q unsigned, zero one number per type, scale and
// offset float32 of a run of 16 or 32 elements, computed in ggml's order (d * sub-scale, then the
// product, then minus dmin * sub-min, or plus m), which makes the values ggml's, bit for bit.
//
// Unpack<V, type> reads a panel with vectors of V::kLanes rows; what follows is written once for all
// types and sets. V has: I, F; load(words), widen(halves) to integers; half(halves) to floats;
// srl, sll, mask(x, m), join(a, b), merge(a, x, m) = a | x & m, plus(x, n), signed_byte(x, i);
// value(I) to F, bits(I) as F, times, sum, negated; lookup(nibbles) in the table of IQ4; store.
#ifndef L3V_CPU_BLOCKS_H
#define L3V_CPU_BLOCKS_H

#include <cstdint>
#include <cstring>

#include "../common/blocks.h"
#include "../common/float16.h"
#include "weight.h"

namespace l3v::cpu {
namespace {  // compiled anew for every target

constexpr int kChunk = 32;  // elements of k whose quants lie together

struct BlockShape {
  int halves, scale_words;          // of a row's block
  int bytes, nibbles, pairs, bits;  // words of a row's chunk, in this order
  int run;                          // elements that share scale and offset
  int zero;                         // what a quant stands above its value
  bool offset;                      // whether there is one
  constexpr int chunk_words() const { return bytes + nibbles + pairs + bits; }
};

constexpr BlockShape block_shape(int32_t dtype) {
  switch (dtype) {
    case L3V_Q4_0: return {1, 0, 0, 4, 0, 0, 32, 8, false};
    case L3V_Q4_1: return {2, 0, 0, 4, 0, 0, 32, 0, true};
    case L3V_Q5_0: return {1, 0, 0, 4, 0, 1, 32, 16, false};
    case L3V_Q5_1: return {2, 0, 0, 4, 0, 1, 32, 0, true};
    case L3V_Q8_0: return {1, 0, 8, 0, 0, 0, 32, 128, false};
    case L3V_Q2_K: return {2, 4, 0, 0, 2, 0, 16, 0, true};
    case L3V_Q3_K: return {1, 3, 0, 0, 2, 1, 16, 4, false};
    case L3V_Q4_K: return {2, 3, 0, 4, 0, 0, 32, 0, true};
    case L3V_Q5_K: return {2, 3, 0, 4, 0, 1, 32, 0, true};
    case L3V_Q6_K: return {1, 4, 0, 4, 2, 0, 16, 32, false};
    case L3V_IQ4_NL: return {1, 0, 0, 4, 0, 0, 32, 128, false};
    case L3V_IQ4_XS: return {2, 1, 0, 4, 0, 0, 32, 128, false};
    default: return {};
  }
}

// What the nibbles of IQ4_NL and IQ4_XS stand for, plus 128.
constexpr uint8_t kIq4[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

// Calls f with the type as a compile-time constant.
template <int32_t kType>
struct TypeTag {
  static constexpr int32_t type = kType;
};
template <class F>
inline void with_block_type(int32_t dtype, F f) {
  switch (dtype) {
    case L3V_Q4_0: return f(TypeTag<L3V_Q4_0>());
    case L3V_Q4_1: return f(TypeTag<L3V_Q4_1>());
    case L3V_Q5_0: return f(TypeTag<L3V_Q5_0>());
    case L3V_Q5_1: return f(TypeTag<L3V_Q5_1>());
    case L3V_Q8_0: return f(TypeTag<L3V_Q8_0>());
    case L3V_Q2_K: return f(TypeTag<L3V_Q2_K>());
    case L3V_Q3_K: return f(TypeTag<L3V_Q3_K>());
    case L3V_Q4_K: return f(TypeTag<L3V_Q4_K>());
    case L3V_Q5_K: return f(TypeTag<L3V_Q5_K>());
    case L3V_Q6_K: return f(TypeTag<L3V_Q6_K>());
    case L3V_IQ4_NL: return f(TypeTag<L3V_IQ4_NL>());
    default: return f(TypeTag<L3V_IQ4_XS>());
  }
}

#define L3V_INLINE inline __attribute__((always_inline))

// Sanitizers put checks around every step, and take minutes for loops laid out in full.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define L3V_UNROLL(n)
#else
#define L3V_PRAGMA(text) _Pragma(#text)
#define L3V_UNROLL(n) L3V_PRAGMA(GCC unroll n)
#endif

template <class V, int32_t kType>
struct Unpack {
  using I = typename V::I;
  using F = typename V::F;
  static constexpr BlockShape kShape = block_shape(kType);
  static constexpr int kElements = block_of(kType).elements;
  static constexpr int64_t kBytes = block_of(kType).bytes * kPanel;  // of a packed block
  static constexpr int kRun = kShape.run, kRuns = kElements / kRun, kZero = kShape.zero;
  static constexpr bool kOffset = kShape.offset;
  static constexpr bool kTable = kType == L3V_IQ4_NL || kType == L3V_IQ4_XS;

  static L3V_INLINE const uint32_t* words(const char* block) {
    return reinterpret_cast<const uint32_t*>(block + kShape.halves * kPanel * 2);
  }
  static L3V_INLINE const uint32_t* chunk(const char* block, int n) {
    return words(block) + (kShape.scale_words + n * kShape.chunk_words()) * kPanel;
  }

  // Bits that lie at bit `from` of each byte, moved to bit `to`; what is around them comes along.
  static L3V_INLINE I moved(I x, int from, int to) {
    return from == to ? x : from < to ? V::sll(x, to - from) : V::srl(x, from - to);
  }

  // Quants of elements 4g .. 4g + 3 of a chunk, of the rows from lane on.
  static L3V_INLINE I quants(const uint32_t* chunk, int lane, int g) {
    const auto word = [&](int n) { return V::load(chunk + n * kPanel + lane); };
    if (kShape.bytes != 0) return word(g);
    constexpr int kBitsAt = kShape.nibbles + kShape.pairs;
    if (kShape.nibbles == 0) {
      const I q = V::mask(moved(word(g >> 2), 2 * (g & 3), 0), 0x03030303u);
      return kShape.bits == 0 ? q : V::merge(q, moved(word(kBitsAt), g, 2), 0x04040404u);
    }
    constexpr int kApart = kRun / 8;  // groups of a word's two halves
    const int n = g / (2 * kApart) * kApart + g % kApart;
    const I q = V::mask(moved(word(n), g / kApart % 2 * 4, 0), 0x0f0f0f0fu);
    if (kTable) return V::lookup(q);
    if (kShape.pairs != 0)
      return V::merge(q, moved(word(kShape.nibbles + (g >> 2)), 2 * (g & 3), 4), 0x30303030u);
    return kShape.bits == 0 ? q : V::merge(q, moved(word(kBitsAt), g, 4), 0x10101010u);
  }

  // Scale, and offset where the type has one, of run r of a block.
  static L3V_INLINE void scales(const char* block, int lane, int r, F* scale, F* offset) {
    const uint16_t* const halves = reinterpret_cast<const uint16_t*>(block) + lane;
    const auto word = [&](int n) { return V::load(words(block) + n * kPanel + lane); };
    const F d = V::half(halves);
    const auto part = [&](int n, int shift, uint32_t m) { return V::mask(V::srl(word(n), shift), m); };
    const auto minus = [&](I n) { return V::times(V::negated(V::half(halves + kPanel)), V::value(n)); };
    switch (kType) {
      case L3V_Q4_1:
      case L3V_Q5_1:
        *scale = d;
        *offset = V::half(halves + kPanel);
        break;
      case L3V_Q2_K:
        *scale = V::times(d, V::value(part(r / 4, 8 * (r % 4), 15)));
        *offset = minus(part(r / 4, 8 * (r % 4) + 4, 15));
        break;
      case L3V_Q3_K: {
        const I low = part(r % 8 / 4, 8 * (r % 4) + (r < 8 ? 0 : 4), 15);
        const I high = V::sll(part(2, 8 * (r % 4) + 2 * (r / 4), 3), 4);
        *scale = V::times(d, V::value(V::plus(V::join(low, high), -32)));
        break;
      }
      case L3V_Q4_K:
      case L3V_Q5_K:
        if (r < 4) {
          *scale = V::times(d, V::value(part(0, 8 * r, 63)));
          *offset = minus(part(1, 8 * r, 63));
        } else {
          const int at = 8 * (r - 4);
          *scale = V::times(d, V::value(V::join(part(2, at, 15), V::sll(part(0, at + 6, 3), 4))));
          *offset = minus(V::join(part(2, at + 4, 15), V::sll(part(1, at + 6, 3), 4)));
        }
        break;
      case L3V_Q6_K:
        *scale = V::times(d, V::value(V::signed_byte(word(r / 4), r % 4)));
        break;
      case L3V_IQ4_XS: {
        const I high = V::sll(V::mask(V::srl(V::widen(halves + kPanel), 2 * r), 3), 4);
        *scale = V::times(d, V::value(V::plus(V::join(part(0, 4 * r, 15), high), -32)));
        break;
      }
      default:
        *scale = d;
    }
  }
};

// Scales and offsets of all runs of a packed block, [64] each, those of a run `stride` floats behind those
// of the run before.
template <class V, int32_t kType>
inline void block_scales(const char* block, float* scale, float* offset, int64_t stride) {
  using U = Unpack<V, kType>;
  for (int at = 0; at < kPanel; at += V::kLanes)
L3V_UNROLL(16)
    for (int r = 0; r < U::kRuns; r++) {
      typename V::F s, o;
      U::scales(block, at, r, &s, &o);
      V::store(scale + r * stride + at, s);
      if (U::kOffset) V::store(offset + r * stride + at, o);
    }
}

// Columns [0, k) of a panel as floats [k][64], for the products in float32.
template <class V>
void block_floats(int32_t dtype, const char* block, int64_t k, float* out) {
  with_block_type(dtype, [&](auto tag) {
    using U = Unpack<V, tag.type>;
    // A byte under the bits of 2^23 is 2^23 plus the byte.
    const typename V::F low = V::all(-8388608.0f - U::kZero);
    const typename V::I zero = V::all(0x4b000000);
    for (int64_t at = 0; at < k; at += U::kElements, block += U::kBytes) {
      alignas(64) float scales[U::kRuns * kPanel], offsets[(U::kOffset ? U::kRuns : 1) * kPanel];
      block_scales<V, tag.type>(block, scales, offsets, kPanel);
      for (int c = 0; c < U::kElements / kChunk; c++)
        for (int v = 0; v < kPanel / V::kLanes; v++) {
          typename V::F scale{}, offset{};
          float* const to = out + (at + c * kChunk) * kPanel + v * V::kLanes;
L3V_UNROLL(8)
          for (int g = 0; g < kChunk / 4; g++) {
            if (g % (U::kRun / 4) == 0) {
              const int64_t run = (c * kChunk + 4 * g) / U::kRun * kPanel + v * V::kLanes;
              scale = V::load(scales + run);
              if (U::kOffset) offset = V::load(offsets + run);
            }
            const typename V::I q = U::quants(U::chunk(block, c), v * V::kLanes, g);
L3V_UNROLL(4)
            for (int i = 0; i < 4; i++) {
              const typename V::F n = V::sum(V::bits(V::merge(zero, V::srl(q, 8 * i), 0xff)), low);
              const typename V::F y = V::times(scale, n);
              V::store(to + (4 * g + i) * kPanel, U::kOffset ? V::sum(y, offset) : y);
            }
          }
        }
    }
  });
}

// One row at a time, in plain C++.
struct OneRow {
  using I = uint32_t;
  using F = float;
  static constexpr int kLanes = 1;
  static I load(const uint32_t* p) { return *p; }
  static I widen(const uint16_t* p) { return *p; }
  static F half(const uint16_t* p) { return widen_f16(*p); }
  static I srl(I x, int n) { return x >> n; }
  static I sll(I x, int n) { return x << n; }
  static I mask(I x, uint32_t m) { return x & m; }
  static I join(I a, I b) { return a | b; }
  static I merge(I a, I x, uint32_t m) { return a | (x & m); }
  static I plus(I x, int n) { return x + static_cast<uint32_t>(n); }
  static I signed_byte(I x, int i) {
    return static_cast<uint32_t>(static_cast<int32_t>(static_cast<int8_t>(x >> (8 * i))));
  }
  static F value(I x) { return static_cast<float>(static_cast<int32_t>(x)); }
  static F times(F a, F b) { return a * b; }
  static F negated(F a) { return -a; }
  static I lookup(I x) {
    uint32_t y = 0;
    for (int i = 0; i < 32; i += 8) y |= static_cast<uint32_t>(kIq4[x >> i & 15]) << i;
    return y;
  }
};

// A row's block taken apart.
template <int32_t kType>
struct RowValues {
  using U = Unpack<OneRow, kType>;
  uint8_t q[U::kElements];
  float scale[U::kRuns], offset[U::kRuns];  // offset: where the type has one

  void unpack(const char* block, int lane) {
    for (int c = 0; c < U::kElements / kChunk; c++)
      for (int g = 0; g < kChunk / 4; g++) {
        const uint32_t four = U::quants(U::chunk(block, c), lane, g);
        std::memcpy(q + c * kChunk + 4 * g, &four, 4);
      }
    for (int r = 0; r < U::kRuns; r++) U::scales(block, lane, r, scale + r, offset + r);
  }
  float value(int i) const {
    const float product = scale[i / U::kRun] * static_cast<float>(q[i] - U::kZero);
    return U::kOffset ? product + offset[i / U::kRun] : product;
  }
};

}  // namespace
}  // namespace l3v::cpu
#endif
