// blocks.h: the block types of GGUF files: elements of a block and the bytes it takes.
#ifndef L3V_COMMON_BLOCKS_H
#define L3V_COMMON_BLOCKS_H

#include <cstdint>

#include "llama3v.h"

namespace l3v {

struct Block {
  int32_t elements, bytes;  // 0: not a block type
};

constexpr Block block_of(int32_t dtype) {
  switch (dtype) {
    case L3V_Q4_0: return {32, 18};
    case L3V_Q4_1: return {32, 20};
    case L3V_Q5_0: return {32, 22};
    case L3V_Q5_1: return {32, 24};
    case L3V_Q8_0: return {32, 34};
    case L3V_Q2_K: return {256, 84};
    case L3V_Q3_K: return {256, 110};
    case L3V_Q4_K: return {256, 144};
    case L3V_Q5_K: return {256, 176};
    case L3V_Q6_K: return {256, 210};
    case L3V_IQ4_NL: return {32, 18};
    case L3V_IQ4_XS: return {256, 136};
    default: return {0, 0};
  }
}

constexpr bool is_block_type(int32_t dtype) { return block_of(dtype).elements != 0; }

}  // namespace l3v
#endif
