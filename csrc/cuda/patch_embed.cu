// patch_embed.cu: out = W flatten(square) + bias + position (Dosovitskiy et al. 2021,
// arXiv:2010.11929, section 3.1), as an implicit product: a square is read where it lies in the
// picture. The kernels are in matmul.cuh and gemm_sm80.cuh.
//
// TMA cannot bring the squares: a line of a square is 14 or 16 floats that begin anywhere, and the
// tensor's strides would have to be multiples of 16 bytes; nor can cp.async, which rounds nothing. So on
// every card the tiles of x are loaded as floats while the step before is multiplied, and stored rounded.
#include "gemm_sm80.cuh"
#include "matmul.cuh"
#include "ops.h"

namespace l3v::cuda {

// Where the squares lie.
struct Squares {
  Matrix pixels;
  int64_t images, channels, height, width, patch;
  int32_t compute;

  explicit Squares(const PatchEmbedArgs& a)
      : pixels(a.pixels), images(a.images), channels(a.channels), height(a.height), width(a.width), patch(a.patch), compute(a.compute) {}

  L3V_BOTH int64_t across() const { return width / patch; }
  L3V_BOTH int64_t grid() const { return height / patch * across(); }
  L3V_BOTH int64_t rows() const { return images * grid(); }

  // A square's first pixel, of channel 0.
  __device__ const float* first(int64_t row) const {
    const int64_t image = row / grid(), square = row % grid();
    return pixels.f32(image * channels * height + square / across() * patch) + square % across() * patch;
  }
  // k counts channel, row and column of the square.
  __device__ float at(int64_t row, int64_t k) const {
    const int64_t channel = k / (patch * patch), y = k / patch % patch, x = k % patch;
    return rounded(first(row)[(channel * height + y) * pixels.stride + x], compute);
  }
};

// A tile of squares, a piece of 8 values at a time.
template <class Type>
struct SquareLoader {
  static constexpr int kBlocks = 1;  // 16 floats that are under way do not fit 128 registers
  Squares squares;
  int64_t rows, cols;

  template <class Tile>
  struct Held {
    float v[Tile::kEach][8];
  };

  template <class Tile>
  __device__ void begin(Held<Tile>& held, Tile&, int64_t first_row, int64_t k0) const {
    const int patch = static_cast<int>(squares.patch);
#pragma unroll
    for (int i = 0; i < Tile::kEach; i++) {
      const int at = static_cast<int>(threadIdx.x) + i * Tile::kThreads;
      const int64_t row = first_row + at / Tile::kPieces, k = k0 + at % Tile::kPieces * 8;
      const bool inside = row < rows;
      const float* square = squares.first(inside ? row : 0);
      int x = static_cast<int>(k % patch);
      int64_t y = k / patch % patch, channel = k / patch / patch;
#pragma unroll
      for (int j = 0; j < 8; j++) {
        held.v[i][j] = inside && k + j < cols ? square[(channel * squares.height + y) * squares.pixels.stride + x] : 0.0f;
        if (++x < patch) continue;
        x = 0;
        if (++y < patch) continue;
        y = 0;
        channel++;
      }
    }
  }

  template <class Tile>
  __device__ void end(const Held<Tile>& held, Tile& tile, int64_t) const {
#pragma unroll
    for (int i = 0; i < Tile::kEach; i++) {
      const int at = static_cast<int>(threadIdx.x) + i * Tile::kThreads;
      Bytes16 piece;
      for (int j = 0; j < 4; j++) piece.words[j] = pack2(held.v[i][2 * j], held.v[i][2 * j + 1], Type{});
      *tile.at(at / Tile::kPieces, at % Tile::kPieces) = piece;
    }
  }
};

namespace {

bool takes_tensor_cores(const PatchEmbedArgs& a, const Card& card) {
  return card.forms != Forms::kPlain && a.compute != L3V_F32;
}

TileChoice tile_of(const PatchEmbedArgs& a, const Card& card) {
  return choose_tile(Forms::kSm80, card.multiprocessors, Squares(a).rows(), a.weight->rows, a.weight->cols, card.batch_invariant, 2);
}

Epilogue epilogue_of(const PatchEmbedArgs& a) { return {a.bias, a.position, a.out, L3V_ACT_NONE, Squares(a).grid()}; }

template <class Type>
void tensor_cores(const PatchEmbedArgs& a, const Queue& q) {
  const WeightRows w = rows_of(a.weight);
  const TileChoice t = tile_of(a, q.card);
  const SquareLoader<Type> squares{Squares(a), Squares(a).rows(), w.cols};
  run_product(t, squares.rows, w.rows, w.cols, epilogue_of(a), q.scratch, q, [&](const Product& p) {
    gemm_sm80<Type>(t, squares, HalfLoader{{w.data, w.row_bytes, w.rows, w.cols}}, p, q);
  });
}

}  // namespace

int64_t patch_embed_scratch(const PatchEmbedArgs& a, const Card& card) {
  return takes_tensor_cores(a, card) ? partial_bytes(tile_of(a, card), Squares(a).rows(), a.weight->rows) : 0;
}

void patch_embed_cuda(const PatchEmbedArgs& a, const Queue& q) {
  if (!takes_tensor_cores(a, q.card)) return matmul(Squares(a), Squares(a).rows(), a.weight, epilogue_of(a), q);
  if (a.compute == L3V_BF16) tensor_cores<Bf16>(a, q);
  else tensor_cores<F16>(a, q);
}

}  // namespace l3v::cuda
