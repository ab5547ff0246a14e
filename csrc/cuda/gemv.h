// gemv.h: products of a few rows, as decoding has them, shaped for memory's bandwidth (gemv.cuh).
#ifndef L3V_CUDA_GEMV_H
#define L3V_CUDA_GEMV_H

#include "queue.h"

namespace l3v::cuda {

constexpr int64_t kMostGemvRows = 8;

// Up to eight rows read the weight once, whatever is computed in. A row's bits are then the same in
// one row or eight, but not those of the tiles, so that a batch-invariant context has tiles alone.
inline bool takes_gemv(const LinearArgs& a, const Card& card) {
  return card.forms != Forms::kPlain && !card.batch_invariant && a.rows <= kMostGemvRows;
}

void gemv(const LinearArgs& a, const Queue& q);

// Its parts, in files of their own as each takes long to compile: weights of float types, of blocks of
// 32 and of blocks of 256.
void gemv_floats(const LinearArgs& a, const Queue& q);
void gemv_blocks32(const LinearArgs& a, const Queue& q);
void gemv_blocks256(const LinearArgs& a, const Queue& q);

}  // namespace l3v::cuda
#endif
