// weight.h: the packed form of a weight matrix, one for all kernel sets.
//
// y = x W^T runs along the columns k of W and produces one output per row of W. The rows are cut
// into panels of 64 outputs, and a panel keeps the 64 values of one k side by side, so that a
// kernel reads each panel once from front to back with full vectors and no sum across lanes:
//   f32   [panels][cols][64]
//   f16   [panels][cols][64]
//   bf16  [panels][ceil(cols / 2)][64][2]
// bf16 pairs the values of k and k + 1: a 32-bit lane is what the bf16 dot product takes, and
// widening is a shift for k and a mask for k + 1. Rows past the last, and the second half of the
// last pair when cols is odd, are zeros.
//   block types  [panels][cols / elements of a block][64 blocks of the file, rearranged: blocks.h]
#ifndef L3V_CPU_WEIGHT_H
#define L3V_CPU_WEIGHT_H

#include "../common/blocks.h"
#include "cpu.h"

namespace l3v::cpu {

constexpr int64_t kPanel = 64;  // outputs of a panel: four AVX-512 vectors of float

struct PackedWeight final : Weight {
  PackedWeight() = default;
  PackedWeight(const PackedWeight&) = delete;
  PackedWeight& operator=(const PackedWeight&) = delete;
  ~PackedWeight() override;

  int64_t panels() const { return (rows + kPanel - 1) / kPanel; }
  // Where the panel's column k begins, the first of a block.
  const char* at(int64_t panel, int64_t k) const {
    return data + panel * panel_bytes + k / block_cols * block_bytes;
  }

  char* data = nullptr;      // 64-byte aligned
  int64_t block_cols = 0;   // columns that lie together in a panel: 2 for bf16, 1 for f32 and f16
  int64_t block_bytes = 0;  // of so many columns of a panel
  int64_t panel_bytes = 0;
  int64_t bytes = 0;  // of data, and what the ledger was charged
  Ledger* ledger = nullptr;
};

inline const PackedWeight& packed(const Weight* w) { return *static_cast<const PackedWeight*>(w); }

// Row `row` of the matrix as cols floats.
void weight_row(const PackedWeight& w, int64_t row, float* out);

}  // namespace l3v::cpu
#endif
