// work.h: about how long one worker takes for an op, in nanoseconds, with vector kernels on a core of
// today: 100 multiply-adds, counted as two operations each, or 20 bytes from a near cache a
// nanosecond. It decides who runs an op and nothing else, so the right order of magnitude will do.
#ifndef L3V_CPU_WORK_H
#define L3V_CPU_WORK_H

#include <algorithm>

#include "../common/blocks.h"
#include "cpu.h"

namespace l3v::cpu {

inline int64_t moving(int64_t bytes) { return bytes / 20; }
inline int64_t computing(int64_t operations) { return operations / 100; }

inline int64_t element_size(int32_t dtype) { return dtype == L3V_F32 || dtype == L3V_I32 ? 4 : 2; }

inline int64_t weight_bytes(const Weight& w) {
  const Block block = block_of(w.dtype);
  return is_block_type(w.dtype) ? w.rows * (w.cols / block.elements) * block.bytes
                                : w.rows * w.cols * element_size(w.dtype);
}
// Products of int8 run at about four times the rate.
inline int64_t product(const Weight& w, int64_t rows, int32_t compute) {
  const int64_t operations = 2 * rows * w.rows * w.cols;
  return std::max(computing(compute == L3V_I8 ? operations / 4 : operations), moving(weight_bytes(w)));
}

inline int64_t work_of(const LinearArgs& a) { return product(*a.weight, a.rows, a.compute); }
// A row lies across a panel: each of its elements brings a cache line.
inline int64_t work_of(const EmbeddingArgs& a) { return moving(a.rows * a.weight->cols * 64); }
inline int64_t work_of(const LayerNormArgs& a) { return moving(8 * a.rows * a.cols); }
inline int64_t work_of(const RmsNormArgs& a) { return moving(8 * a.rows * a.cols); }
inline int64_t work_of(const PatchEmbedArgs& a) {
  return product(*a.weight, a.images * (a.height / a.patch) * (a.width / a.patch), a.compute);
}
inline int64_t work_of(const AttentionArgs& a) {
  return computing(4 * a.q_rows * (a.k_rows / a.sequences) * a.heads * a.head_dim);
}
inline int64_t work_of(const CacheAppendArgs& a) { return moving(16 * a.rows * a.cols); }
// How long the sequences are stands in device memory; their page tables bound it.
inline int64_t work_of(const PagedAttentionArgs& a) {
  return computing(4 * a.rows * a.max_pages * a.page_size * a.heads * a.head_dim);
}
inline int64_t work_of(const RopeArgs& a) { return moving(16 * a.rows * a.heads * a.head_dim); }
inline int64_t work_of(const SwigluArgs& a) { return moving(24 * a.rows * a.cols); }
inline int64_t work_of(const ActivationArgs& a) { return moving(24 * a.rows * a.cols); }
inline int64_t work_of(const CopyRowsArgs& a) { return moving(2 * a.rows * a.cols * element_size(a.x.dtype)); }
inline int64_t work_of(const SoftmaxArgs& a) { return moving(24 * a.rows * a.cols); }
inline int64_t work_of(const TopkArgs& a) { return moving(4 * a.rows * a.cols); }
inline int64_t work_of(const AdvanceArgs&) { return 0; }
inline int64_t work_of(const CheckFiniteArgs& a) { return moving(4 * a.rows * a.cols); }
inline int64_t work_of(const PenalizeArgs& a) { return moving(5 * a.rows * a.cols); }
inline int64_t work_of(const SampleArgs& a) { return moving(32 * a.rows * a.cols); }
inline int64_t work_of(const LogProbArgs& a) { return moving(24 * a.rows * a.cols); }

}  // namespace l3v::cpu
#endif
