// linear.h: which kernel a product takes.
#ifndef L3V_CUDA_LINEAR_H
#define L3V_CUDA_LINEAR_H

#include "../common/blocks.h"
#include "gemv.h"
#include "queue.h"

namespace l3v::cuda {

enum class LinearForm {
  kPlain,  // matmul.cuh: any type, one chain of sums
  kGemv,   // gemv.cuh: a few rows, bound by reading the weight
  kSm80,   // gemm_sm80.cuh: tensor cores, factors of 16 bits
  kSm90,   // gemm_sm90.cuh: the same by WGMMA and TMA
};

// In a batch-invariant context every product of 16 bits takes one tile, 128 x 128 and no splits, so that
// neither how many rows there are nor their tiles' order decides a row's sums; float32 is one chain of sums
// anyway. On paper (tile_cycles, H100) that costs the products of a layer of so400m-384 over one picture
// 1.4 times their time, those of Llama 3 8B over 512 tokens 1.25, and its decoding in bfloat16 1.4, as
// few blocks then read the weight.
inline LinearForm linear_form(const LinearArgs& a, const Card& card) {
  if (card.forms == Forms::kPlain) return LinearForm::kPlain;
  if (takes_gemv(a, card)) return LinearForm::kGemv;
  // Tensor cores take float32 only cut to 10 bits of mantissa, which is no float32 product.
  if (a.compute == L3V_F32) return LinearForm::kPlain;
  // TMA counts rows in 32 bits.
  if (card.forms == Forms::kSm90 && a.rows <= INT32_MAX && a.weight->rows <= INT32_MAX) return LinearForm::kSm90;
  return LinearForm::kSm80;
}

}  // namespace l3v::cuda
#endif
