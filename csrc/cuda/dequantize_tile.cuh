// dequantize_tile.cuh: tiles of weights of block types for the tensor cores, widened and rounded to 16
// bits on their way from registers to shared memory.
//
// A thread takes 16 values of a row at a time, of whatever type: it loads the chunk that they are in
// (dequantize.cuh) a step ahead, and stores them as two pieces of 16 bytes. Two, four or one threads
// share a chunk, and its 16 bytes come from memory once. The type is a branch that all threads take
// together, so that one kernel serves all of them.
#ifndef L3V_CUDA_DEQUANTIZE_TILE_CUH
#define L3V_CUDA_DEQUANTIZE_TILE_CUH

#include "dequantize.cuh"
#include "ptx.cuh"

namespace l3v::cuda {

// Of columns k to k + 15 of a row.
template <int kType>
__device__ void load_values(ChunkData& data, const WeightRows& w, int64_t row, int64_t k) {
  Chunk<kType> chunk;
  chunk.load(w, w.data + row * w.row_bytes, k / Chunk<kType>::kElements);
  data = chunk;
}
__device__ inline void load_values(ChunkData& data, const WeightRows& w, int64_t row, int64_t k) {
  switch (w.dtype) {
    case L3V_Q4_0: return load_values<L3V_Q4_0>(data, w, row, k);
    case L3V_Q4_1: return load_values<L3V_Q4_1>(data, w, row, k);
    case L3V_Q5_0: return load_values<L3V_Q5_0>(data, w, row, k);
    case L3V_Q5_1: return load_values<L3V_Q5_1>(data, w, row, k);
    case L3V_Q8_0: return load_values<L3V_Q8_0>(data, w, row, k);
    case L3V_Q2_K: return load_values<L3V_Q2_K>(data, w, row, k);
    case L3V_Q3_K: return load_values<L3V_Q3_K>(data, w, row, k);
    case L3V_Q4_K: return load_values<L3V_Q4_K>(data, w, row, k);
    case L3V_Q5_K: return load_values<L3V_Q5_K>(data, w, row, k);
    case L3V_Q6_K: return load_values<L3V_Q6_K>(data, w, row, k);
    case L3V_IQ4_NL: return load_values<L3V_IQ4_NL>(data, w, row, k);
    default: return load_values<L3V_IQ4_XS>(data, w, row, k);
  }
}

// The 16 values from column k on, to nearest even of 16 bits, as two pieces.
template <int kType, class Type>
__device__ void widen_values(Bytes16 (&pieces)[2], const ChunkData& data, int64_t k) {
  Chunk<kType> chunk(data);
  chunk.move_to_front(static_cast<int>(k % Chunk<kType>::kElements) / 16);
  float v[16];
  chunk.values(v);
#pragma unroll
  for (int i = 0; i < 8; i++) pieces[i / 4].words[i % 4] = pack2(v[2 * i], v[2 * i + 1], Type{});
}
template <class Type>
__device__ void widen_values(Bytes16 (&pieces)[2], int32_t dtype, const ChunkData& data, int64_t k) {
  switch (dtype) {
    case L3V_Q4_0: return widen_values<L3V_Q4_0, Type>(pieces, data, k);
    case L3V_Q4_1: return widen_values<L3V_Q4_1, Type>(pieces, data, k);
    case L3V_Q5_0: return widen_values<L3V_Q5_0, Type>(pieces, data, k);
    case L3V_Q5_1: return widen_values<L3V_Q5_1, Type>(pieces, data, k);
    case L3V_Q8_0: return widen_values<L3V_Q8_0, Type>(pieces, data, k);
    case L3V_Q2_K: return widen_values<L3V_Q2_K, Type>(pieces, data, k);
    case L3V_Q3_K: return widen_values<L3V_Q3_K, Type>(pieces, data, k);
    case L3V_Q4_K: return widen_values<L3V_Q4_K, Type>(pieces, data, k);
    case L3V_Q5_K: return widen_values<L3V_Q5_K, Type>(pieces, data, k);
    case L3V_Q6_K: return widen_values<L3V_Q6_K, Type>(pieces, data, k);
    case L3V_IQ4_NL: return widen_values<L3V_IQ4_NL, Type>(pieces, data, k);
    default: return widen_values<L3V_IQ4_XS, Type>(pieces, data, k);
  }
}

// Rows of block types, for a tile of which each thread has two pieces (gemm_sm80.cuh has what a loader
// is).
template <class Type>
struct BlockLoader {
  static constexpr int kBlocks = 1;  // what is held between the calls does not fit 128 registers
  WeightRows rows;

  template <class Tile>
  struct Held {
    ChunkData data;
    bool valid;
  };

  template <class Tile>
  static __device__ int row_of_thread() {
    static_assert(Tile::kEach == 2, "16 values a thread");
    return static_cast<int>(threadIdx.x) / (Tile::kPieces / 2);
  }
  template <class Tile>
  static __device__ int piece_of_thread() {
    return static_cast<int>(threadIdx.x) % (Tile::kPieces / 2) * 2;
  }

  template <class Tile>
  __device__ void begin(Held<Tile>& held, Tile&, int64_t first_row, int64_t k0) const {
    const int64_t row = first_row + row_of_thread<Tile>(), k = k0 + 8 * piece_of_thread<Tile>();
    held.valid = row < rows.rows && k < rows.cols;
    if (held.valid) load_values(held.data, rows, row, k);
  }
  template <class Tile>
  __device__ void end(const Held<Tile>& held, Tile& tile, int64_t k0) const {
    const int row = row_of_thread<Tile>(), piece = piece_of_thread<Tile>();
    Bytes16 pieces[2] = {};
    if (held.valid) widen_values<Type>(pieces, rows.dtype, held.data, k0 + 8 * piece);
    *tile.at(row, piece) = pieces[0];
    *tile.at(row, piece + 1) = pieces[1];
  }
};

}  // namespace l3v::cuda
#endif
