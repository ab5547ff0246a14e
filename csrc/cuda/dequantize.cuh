// dequantize.cuh: 16 bytes of quants of one row at a time, in registers, and their values.
//
// A chunk is so many consecutive values of a row as 16 bytes of quants hold: 4 of float32, 8 of 16
// bits, 16, 32 or 64 of a block type. Chunk c of a row is loaded by one 128-bit load of quants and
// smaller ones of what belongs to it (weight.h has the planes), and gives its values four at a time
// as small integers in float32, with the scale and minimum that runs of them share:
//
//   value = scale * quant - minimum        (ggml's order of float32 operations, so ggml's bits)
//
// A byte becomes a float by one permutation: below the exponent of 2^23 it is 2^23 + byte, exactly, and one
// subtraction takes off the power of two together with the type's zero point. Quants come apart into
// words of four bytes first, which costs a shift and two logical operations for eight of 4 bits: those
// have half the rate of float32 operations, and 2.5 a value are what an H100 has time for while a value
// of 4 bits comes from memory.
#ifndef L3V_CUDA_DEQUANTIZE_CUH
#define L3V_CUDA_DEQUANTIZE_CUH

#include "../common/blocks.h"
#include "weight.cuh"

namespace l3v::cuda {

// What is subtracted from the quants.
constexpr int zero_point(int type) {
  switch (type) {
    case L3V_Q4_0: return 8;
    case L3V_Q5_0: return 16;
    case L3V_Q3_K: return 4;
    case L3V_Q6_K: return 32;
    default: return 0;
  }
}

// Byte b of a word, less zero.
__device__ inline float byte_value(uint32_t word, int b, int zero) {
  return as_float(__byte_perm(word, 0x4b000000u, 0x7650u | static_cast<uint32_t>(b))) - (8388608.0f + static_cast<float>(zero));
}
// Four values of IQ4_NL and IQ4_XS (weight.cuh has the table), each plus 128 in a byte, for four
// indices in 16 bits.
__device__ inline uint32_t table_bytes(uint32_t v) {
  const uint32_t index = v & 0x7777u;
  const uint32_t low = __byte_perm(0x3f2d1801u, 0x766a5d4fu, index);
  const uint32_t high = __byte_perm(0xa6998d81u, 0xf1d9c5b5u, index);
  return __byte_perm(low, high, 0x3210u | (v & 0x8888u) >> 1);
}

struct alignas(8) Bytes8 {
  uint32_t words[2];
};
struct alignas(16) Floats4 {
  float v[4];
};

// What is loaded of a chunk, of any type.
struct ChunkData {
  Bytes16 quants;
  uint32_t more[2], scales[4], factors;
  int in_block;  // which chunk of its block
};

template <int kType>
struct Chunk : ChunkData {
  static constexpr Planes kPlanes = planes_of(kType);
  static constexpr bool kScaled = kPlanes.quants != 0;
  static constexpr int kBits = kScaled ? kPlanes.low_bits : kType == L3V_F32 ? 32 : 16;
  static constexpr int kElements = 128 / kBits, kQuads = kElements / 4;
  static constexpr int kBlock = block_of(kType).elements;  // 0: a float type
  static constexpr bool kMinimum =
      kType == L3V_Q4_1 || kType == L3V_Q5_1 || kType == L3V_Q2_K || kType == L3V_Q4_K || kType == L3V_Q5_K;
  // Quads that share a scale.
  static constexpr bool kRunsOf16 = kType == L3V_Q2_K || kType == L3V_Q3_K || kType == L3V_Q6_K || kType == L3V_Q8_0;
  static constexpr int kRun = !kScaled ? kQuads : kRunsOf16 ? 4 : 8, kRuns = kQuads / kRun;
  static constexpr bool kNibbles = kScaled && kBits == 4;
  static constexpr bool kTable = kType == L3V_IQ4_NL || kType == L3V_IQ4_XS;

  Chunk() = default;
  __device__ explicit Chunk(const ChunkData& data) : ChunkData(data) {}

  __device__ void load(const WeightRows& w, const char* row, int64_t c) {
    quants = reinterpret_cast<const Bytes16*>(row)[c];
    if constexpr (!kScaled) return;
    constexpr int kChunks = kScaled ? (kBlock > kElements ? kBlock / kElements : 1) : 1;  // of a block
    const int64_t block = c / kChunks;
    in_block = static_cast<int>(c % kChunks);
    if constexpr (kPlanes.more_bits * kElements == 32) more[0] = reinterpret_cast<const uint32_t*>(row + w.more)[c];
    if constexpr (kPlanes.more_bits * kElements == 64) {
      const Bytes8 two = reinterpret_cast<const Bytes8*>(row + w.more)[c];
      more[0] = two.words[0];
      more[1] = two.words[1];
    }
    if constexpr (kPlanes.factors == 2) factors = reinterpret_cast<const uint16_t*>(row + w.factors)[block];
    if constexpr (kPlanes.factors == 4) factors = reinterpret_cast<const uint32_t*>(row + w.factors)[block];
    if constexpr (kType == L3V_Q2_K) scales[0] = reinterpret_cast<const uint32_t*>(row + w.scales)[c];
    if constexpr (kType == L3V_Q6_K) scales[0] = reinterpret_cast<const uint16_t*>(row + w.scales)[c];
    if constexpr (kType == L3V_Q3_K) {
      const uint32_t* three = reinterpret_cast<const uint32_t*>(row + w.scales) + 3 * block;
      scales[0] = three[in_block % 2];
      scales[1] = three[2];
    }
    if constexpr (kType == L3V_IQ4_XS) {
      const Bytes8 two = reinterpret_cast<const Bytes8*>(row + w.scales)[block];
      scales[0] = two.words[0];
      scales[1] = two.words[1];
    }
    if constexpr (kType == L3V_Q4_K || kType == L3V_Q5_K) {
      const Bytes16 four = reinterpret_cast<const Bytes16*>(row + w.scales)[block];
      for (int i = 0; i < 4; i++) scales[i] = four.words[i];
    }
  }

  // Values 4t to 4t + 3, before scale and minimum.
  __device__ void quad(int t, float (&q)[4]) const {
    if constexpr (kType == L3V_F32) {
      for (int i = 0; i < 4; i++) q[i] = as_float(quants.words[i]);
    } else if constexpr (kType == L3V_BF16) {
      for (int i = 0; i < 4; i++) {
        const uint32_t two = quants.words[2 * t + i / 2];
        q[i] = as_float(i % 2 == 0 ? two << 16 : two & 0xffff0000u);
      }
    } else if constexpr (kType == L3V_F16) {
      for (int i = 0; i < 4; i++) q[i] = widen_f16(static_cast<uint16_t>(quants.words[2 * t + i / 2] >> (i % 2 * 16)));
    } else if constexpr (kType == L3V_Q8_0) {
      const uint32_t plus_128 = quants.words[t] ^ 0x80808080u;
      for (int i = 0; i < 4; i++) q[i] = byte_value(plus_128, i, 128);
    } else if constexpr (kTable) {
      const uint32_t four = table_bytes(quants.words[t / 2] >> (t % 2 * 16));
      for (int i = 0; i < 4; i++) q[i] = byte_value(four, i, 128);
    } else if constexpr (kNibbles) {
      // Bytes of the even values of eight, and of the odd ones.
      const int word = t / 2, up = kPlanes.more_bits == 1 ? word : word % 2 * 2;
      uint32_t even = quants.words[word] & 0x0f0f0f0fu, odd = quants.words[word] >> 4 & 0x0f0f0f0fu;
      if constexpr (kPlanes.more_bits != 0) {
        constexpr uint32_t kMask = kPlanes.more_bits == 1 ? 0x10101010u : 0x30303030u;
        const uint32_t high = more[kPlanes.more_bits == 1 ? 0 : word / 2];
        even |= high << (4 - up) & kMask;
        odd |= high >> up & kMask;
      }
      for (int i = 0; i < 4; i++) q[i] = byte_value(i % 2 == 0 ? even : odd, t % 2 * 2 + i / 2, zero_point(kType));
    } else {
      // Byte t % 4 of four words, one for each of its values.
      const int word = t / 4;
      for (int i = 0; i < 4; i++) {
        uint32_t bytes = quants.words[word] >> 2 * i & 0x03030303u;
        if constexpr (kPlanes.more_bits != 0) {
          const int right = 2 * i + word % 2 - 2;
          const uint32_t high = more[word / 2];
          bytes |= (right < 0 ? high << -right : high >> right) & 0x04040404u;
        }
        q[i] = byte_value(bytes, t % 4, zero_point(kType));
      }
    }
  }

  // What run r of kRun quads shares.
  __device__ void run(int r, float* scale, float* minimum) const {
    *scale = 1.0f;
    *minimum = 0.0f;
    if constexpr (kType == L3V_Q4_0 || kType == L3V_Q5_0 || kType == L3V_Q8_0 || kType == L3V_IQ4_NL) {
      *scale = widen_f16(static_cast<uint16_t>(factors));
    } else if constexpr (kType == L3V_Q4_1 || kType == L3V_Q5_1) {
      *scale = widen_f16(static_cast<uint16_t>(factors));
      *minimum = -widen_f16(static_cast<uint16_t>(factors >> 16));
    } else if constexpr (kType == L3V_Q2_K) {
      const uint32_t s = scales[0] >> (8 * r);
      *scale = widen_f16(static_cast<uint16_t>(factors)) * static_cast<float>(s & 15u);
      *minimum = widen_f16(static_cast<uint16_t>(factors >> 16)) * static_cast<float>(s >> 4 & 15u);
    } else if constexpr (kType == L3V_Q3_K) {
      const uint32_t four = (scales[0] >> (in_block / 2 * 4) & 0x0f0f0f0fu) | (scales[1] >> (2 * in_block) & 0x03030303u) << 4;
      *scale = widen_f16(static_cast<uint16_t>(factors)) * static_cast<float>(static_cast<int>(four >> (8 * r) & 63u) - 32);
    } else if constexpr (kType == L3V_Q6_K) {
      *scale = widen_f16(static_cast<uint16_t>(factors)) * static_cast<float>(static_cast<int8_t>(scales[0] >> (8 * r)));
    } else if constexpr (kType == L3V_IQ4_XS) {
      const uint32_t low = scales[1] >> (4 * in_block) & 15u, high = scales[0] >> (16 + 2 * in_block) & 3u;
      *scale = widen_f16(static_cast<uint16_t>(scales[0])) * static_cast<float>(static_cast<int>(low | high << 4) - 32);
    } else if constexpr (kType == L3V_Q4_K || kType == L3V_Q5_K) {
      const int shift = in_block % 4 * 8;
      const uint32_t a = scales[1] >> shift, b = scales[2] >> shift, c = scales[3] >> shift;
      const uint32_t s = in_block < 4 ? a & 63u : (c & 15u) | (a >> 2 & 0x30u);
      const uint32_t m = in_block < 4 ? b & 63u : (c >> 4 & 15u) | (b >> 2 & 0x30u);
      *scale = widen_f16(static_cast<uint16_t>(scales[0])) * static_cast<float>(s);
      *minimum = widen_f16(static_cast<uint16_t>(scales[0] >> 16)) * static_cast<float>(m);
    }
  }

  // Values 16 part and up move to the front, where quad and run find them, with what they share.
  __device__ void move_to_front(int part) {
    if constexpr (kScaled && kBits == 4) {
      if (part == 0) return;
      quants.words[0] = quants.words[2];
      quants.words[1] = quants.words[3];
      if constexpr (kPlanes.more_bits == 1) more[0] >>= 2;
      if constexpr (kPlanes.more_bits == 2) more[0] = more[1];
      if constexpr (kType == L3V_Q6_K) scales[0] >>= 8;
    }
    if constexpr (kScaled && kBits == 2) {
      const uint32_t low = part == 0 ? quants.words[0] : quants.words[1], high = part == 2 ? quants.words[2] : quants.words[3];
      quants.words[0] = part < 2 ? low : high;
      if constexpr (kPlanes.more_bits == 1) more[0] = (part < 2 ? more[0] : more[1]) >> part % 2;
      scales[0] >>= 8 * part;
      if constexpr (kType == L3V_Q3_K) scales[1] >>= 8 * part;
    }
  }

  // The first kCount values.
  template <int kCount>
  __device__ void values(float (&v)[kCount]) const {
    static_assert(kCount <= kElements, "of one chunk");
#pragma unroll
    for (int t = 0; t < kCount / 4; t++) {
      float q[4], scale, minimum;
      quad(t, q);
      run(t / kRun, &scale, &minimum);
      for (int i = 0; i < 4; i++) {
        v[4 * t + i] = q[i];
        if constexpr (kScaled) v[4 * t + i] = scale * q[i];
        if constexpr (kMinimum) v[4 * t + i] -= minimum;
      }
    }
  }
};

}  // namespace l3v::cuda
#endif
