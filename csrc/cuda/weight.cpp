// weight.cpp: weights on the device: their bytes, and rows on their way in and out.
#include "weight.h"

#include "../common/blocks.h"
#include "../common/op.h"
#include "device.h"

namespace l3v::cuda {
namespace {

// Bytes of a row as the file has it. False where they do not fit 64 bits.
bool row_bytes(int32_t dtype, int64_t cols, int64_t* bytes) {
  const Block b = block_of(dtype);
  if (b.elements != 0) return !__builtin_mul_overflow(cols / b.elements, int64_t{b.bytes}, bytes);
  return !__builtin_mul_overflow(cols, element_size(dtype), bytes);
}

}  // namespace

CudaWeight::~CudaWeight() {
  cudaSetDevice(device);
  cudaFree(data);
  if (ledger != nullptr) ledger->give(row_bytes * rows);
}

Status CudaDevice::weight_plan(int32_t dtype, int64_t rows, int64_t cols, int64_t* bytes) {
  int64_t row = 0;
  if (!row_bytes(dtype, cols, &row) || __builtin_mul_overflow(row, rows, bytes))
    return fail(L3V_INVALID_ARGUMENT, "weight of %lld x %lld: its bytes do not fit 64 bits", static_cast<long long>(rows),
                static_cast<long long>(cols));
  return {};
}

Status CudaDevice::weight_create(int32_t dtype, int64_t rows, int64_t cols, std::unique_ptr<Weight>* out) {
  L3V_PASS(make_current(device_));
  int64_t bytes = 0;
  L3V_PASS(weight_plan(dtype, rows, cols, &bytes));
  L3V_PASS(ledger_->take(bytes, "weight"));
  auto w = std::make_unique<CudaWeight>();
  w->ledger = ledger_;
  w->device = device_;
  w->dtype = dtype;
  w->rows = rows;
  w->cols = cols;
  w->row_bytes = bytes / rows;
  void* p = nullptr;
  L3V_TRY(cudaMalloc(&p, static_cast<size_t>(bytes)));
  w->data = static_cast<char*>(p);
  *out = std::move(w);
  return {};
}

Status CudaDevice::weight_write(Weight* weight, int64_t first, int64_t rows, const void* src) {
  CudaWeight& w = *static_cast<CudaWeight*>(weight);
  return write(w.data + first * w.row_bytes, src, rows * w.row_bytes);
}

Status CudaDevice::weight_read(const Weight* weight, int64_t first, int64_t rows, void* dst) {
  const CudaWeight& w = *static_cast<const CudaWeight*>(weight);
  return read(dst, w.data + first * w.row_bytes, rows * w.row_bytes);
}

Status CudaDevice::weight_write_packed(Weight* w, int64_t offset, int64_t bytes, const void* src) {
  return write(static_cast<CudaWeight*>(w)->data + offset, src, bytes);
}

Status CudaDevice::weight_read_packed(const Weight* w, int64_t offset, int64_t bytes, void* dst) {
  return read(dst, static_cast<const CudaWeight*>(w)->data + offset, bytes);
}

}  // namespace l3v::cuda
