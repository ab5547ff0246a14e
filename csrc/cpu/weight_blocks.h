// weight_blocks.h: rows of block types between the file's order and the packed one (blocks.h).
#ifndef L3V_CPU_WEIGHT_BLOCKS_H
#define L3V_CPU_WEIGHT_BLOCKS_H

#include "weight.h"

namespace l3v::cpu {

// Rows [first, first + rows), blocks of the file row after row, of any alignment.
void weight_blocks_write(PackedWeight& w, int64_t first, int64_t rows, const char* from);
void weight_blocks_read(const PackedWeight& w, int64_t first, int64_t rows, char* to);

// Row `row` as cols floats.
void weight_blocks_row(const PackedWeight& w, int64_t row, float* out);

}  // namespace l3v::cpu
#endif
