// patch_embed.cu: out = W flatten(square) + bias + position (Dosovitskiy et al. 2021,
// arXiv:2010.11929, section 3.1), as an implicit product: a square is read where it lies in the
// picture. The kernel is in matmul.cuh.
#include "matmul.cuh"
#include "ops.h"

namespace l3v::cuda {
namespace {

struct Squares {
  PatchEmbedArgs a;
  __device__ int64_t across() const { return a.width / a.patch; }
  __device__ int64_t grid() const { return a.height / a.patch * across(); }
  __device__ int64_t rows() const { return a.images * grid(); }
  __device__ int64_t residual_row(int64_t row) const { return row % grid(); }
  // k counts channel, row and column of the square.
  __device__ float at(int64_t row, int64_t k) const {
    const int64_t image = row / grid(), square = row % grid();
    const int64_t channel = k / (a.patch * a.patch), y = k / a.patch % a.patch, x = k % a.patch;
    const int64_t line = (image * a.channels + channel) * a.height + square / across() * a.patch + y;
    const float v = a.pixels.f32(line)[square % across() * a.patch + x];
    return a.compute == L3V_BF16 ? round_to_bf16(v) : v;
  }
};

}  // namespace

void patch_embed_cuda(const PatchEmbedArgs& a, const Queue& q) {
  const int64_t rows = a.images * (a.height / a.patch) * (a.width / a.patch);
  matmul(Squares{a}, rows, a.weight, {a.bias, a.position, a.out, L3V_ACT_NONE}, q);
}

}  // namespace l3v::cuda
