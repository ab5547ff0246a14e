// epilogue.cuh: what stands behind the sums of a product: out = activation(sum + bias) + residual.
#ifndef L3V_CUDA_EPILOGUE_CUH
#define L3V_CUDA_EPILOGUE_CUH

#include "activation.cuh"
#include "element.cuh"

namespace l3v::cuda {

struct Epilogue {
  Matrix bias, residual, out;  // out: float32 or bfloat16, may be the residual
  int32_t activation;
  int64_t residual_rows;  // behind the last row the first comes again; 0: as many as out has

  __device__ int64_t residual_row(int64_t row) const { return residual_rows == 0 ? row : row % residual_rows; }

  __device__ float value(float sum, int64_t row, int64_t column) const {
    float y = sum;
    if (bias) y += bias.f32()[column];
    y = activate(y, activation);
    if (residual) y += residual.f32(residual_row(row))[column];
    return y;
  }
};

// Whether four neighbours can be read and written together.
inline bool wide(const Epilogue& e) {
  return aligned_rows(e.out) && (!e.bias || aligned_rows(e.bias)) && (!e.residual || aligned_rows(e.residual));
}

// The first valid of four neighbours, all at once where wide.
__device__ inline void load4(float (&v)[4], const float* from, int valid, bool wide) {
  if (wide && valid >= 4) {
    const Bytes16 four = *reinterpret_cast<const Bytes16*>(from);
    for (int i = 0; i < 4; i++) v[i] = as_float(four.words[i]);
  } else {
    for (int i = 0; i < 4; i++) v[i] = i < valid ? from[i] : 0.0f;
  }
}

// Four neighbours of any element type.
template <class T>
__device__ void store4(T* to, const float (&v)[4], int valid, bool wide) {
  if (wide && valid >= 4) {
    struct alignas(4 * sizeof(T)) Four {
      T values[4];
    };
    *reinterpret_cast<Four*>(to) = {narrow<T>(v[0]), narrow<T>(v[1]), narrow<T>(v[2]), narrow<T>(v[3])};
  } else {
    for (int i = 0; i < 4; i++)
      if (i < valid) to[i] = narrow<T>(v[i]);
  }
}

// Finishes and stores four neighbours of a row, the first valid of which are inside.
__device__ inline void finish4(const Epilogue& e, float (&y)[4], int64_t row, int64_t column, int valid, bool wide) {
  float more[4];
  if (e.bias) {
    load4(more, e.bias.f32() + column, valid, wide);
    for (int i = 0; i < 4; i++) y[i] += more[i];
  }
  for (int i = 0; i < 4; i++) y[i] = activate(y[i], e.activation);
  if (e.residual) {
    load4(more, e.residual.f32(e.residual_row(row)) + column, valid, wide);
    for (int i = 0; i < 4; i++) y[i] += more[i];
  }
  if (e.out.dtype == L3V_F32) store4(row_of<float>(e.out, row) + column, y, valid, wide);
  else store4(row_of<Bfloat16>(e.out, row) + column, y, valid, wide);
}

}  // namespace l3v::cuda
#endif
