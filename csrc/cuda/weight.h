// weight.h: a weight matrix on the device: the rows as they came, one behind the other.
#ifndef L3V_CUDA_WEIGHT_H
#define L3V_CUDA_WEIGHT_H

#include "../common/backend.h"

namespace l3v::cuda {

struct WeightRows {
  const char* data;
  int64_t row_bytes, rows, cols;
  int32_t dtype;
};

struct CudaWeight final : Weight {
  CudaWeight() = default;
  CudaWeight(const CudaWeight&) = delete;
  CudaWeight& operator=(const CudaWeight&) = delete;
  ~CudaWeight() override;
  WeightRows view() const { return {data, row_bytes, rows, cols, dtype}; }

  char* data = nullptr;
  int64_t row_bytes = 0;
  int device = 0;
  Ledger* ledger = nullptr;
};

inline WeightRows rows_of(const Weight* w) { return static_cast<const CudaWeight*>(w)->view(); }

}  // namespace l3v::cuda
#endif
