// linear.cu: out = activation(x W^T + bias) + residual: which of its kernels a product takes. They are in
// matmul.cuh, gemv.cuh, gemm_sm80.cuh and gemm_sm90.cuh.
#include "linear.h"

#include "dequantize_tile.cuh"
#include "gemm_blocks_sm90.cuh"
#include "gemm_sm80.cuh"
#include "gemm_sm90.cuh"
#include "gemv.h"
#include "matmul.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

struct RowsOfX {
  Matrix x;
  int64_t count;
  int32_t compute;
  __device__ int64_t rows() const { return count; }
  __device__ float at(int64_t row, int64_t k) const {
    return rounded(x.dtype == L3V_F32 ? row_of<float>(x, row)[k] : widen(row_of<Bfloat16>(x, row)[k]), compute);
  }
};

Epilogue epilogue_of(const LinearArgs& a) { return {a.bias, a.residual, a.out, a.activation, 0}; }

TileChoice tile_of(const LinearArgs& a, LinearForm form, const Card& card) {
  const TileChoice t = choose_tile(form == LinearForm::kSm90 ? Forms::kSm90 : Forms::kSm80, card.multiprocessors, a.rows,
                                   a.weight->rows, a.weight->cols, card.batch_invariant, 2);
  return is_block_type(a.weight->dtype) ? narrow_tile(t) : t;
}

template <class Type>
void tensor_cores(const LinearArgs& a, LinearForm form, const Queue& q) {
  const WeightRows w = rows_of(a.weight);
  const TileChoice t = tile_of(a, form, q.card);
  const HalfRows x = half_rows(a.x, a.rows, w.cols, a.compute, q), weight{w.data, w.row_bytes, w.rows, w.cols};
  char* partials = q.scratch + half_rows_bytes(a.x, a.rows, w.cols, a.compute);
  run_product(t, a.rows, w.rows, w.cols, epilogue_of(a), partials, q, [&](const Product& p) {
    const bool blocks = is_block_type(w.dtype);
    if (form == LinearForm::kSm90 && blocks) gemm_blocks_sm90<Type>(t, x, w, p, q);
    else if (form == LinearForm::kSm90) gemm_sm90<Type>(t, x, weight, p, q);
    else if (blocks) gemm_sm80<Type>(t, HalfLoader{x}, BlockLoader<Type>{w}, p, q);
    else gemm_sm80<Type>(t, HalfLoader{x}, HalfLoader{weight}, p, q);
  });
}

}  // namespace

int64_t linear_scratch(const LinearArgs& a, const Card& card) {
  const LinearForm form = linear_form(a, card);
  if (form != LinearForm::kSm80 && form != LinearForm::kSm90) return 0;
  return half_rows_bytes(a.x, a.rows, a.weight->cols, a.compute) + partial_bytes(tile_of(a, form, card), a.rows, a.weight->rows);
}

void linear_cuda(const LinearArgs& a, const Queue& q) {
  switch (const LinearForm form = linear_form(a, q.card)) {
    case LinearForm::kPlain: return matmul(RowsOfX{a.x, a.rows, a.compute}, a.rows, a.weight, epilogue_of(a), q);
    case LinearForm::kGemv: return gemv(a, q);
    default: return a.compute == L3V_BF16 ? tensor_cores<Bf16>(a, form, q) : tensor_cores<F16>(a, form, q);
  }
}

}  // namespace l3v::cuda
