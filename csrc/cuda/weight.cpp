// weight.cpp: weights on the device: their bytes, and rows on their way in and out.
#include "weight.h"

#include <cstring>
#include <algorithm>
#include <cstring>
#include <vector>

#include "../common/blocks.h"
#include "../common/op.h"
#include "device.h"

namespace l3v::cuda {
namespace {

// Lays a row out: its planes, or its values, each from a multiple of 16 bytes on. False where its bytes
// do not fit 64 bits.
bool lay_out(int32_t dtype, int64_t rows, int64_t cols, WeightRows* view, int64_t* file_bytes) {
  const Block b = block_of(dtype);
  const int64_t most = INT64_MAX - 64;  // each of four planes may be rounded up
  const bool fits = b.elements != 0 ? !__builtin_mul_overflow(cols / b.elements, int64_t{b.bytes}, file_bytes)
                                    : !__builtin_mul_overflow(cols, element_size(dtype), file_bytes);
  if (!fits || *file_bytes > most) return false;
  *view = {nullptr, 0, rows, cols, 0, 0, 0, dtype};
  const auto plane = [&](int64_t bytes) {
    const int64_t at = view->row_bytes;
    view->row_bytes += (bytes + 15) / 16 * 16;
    return at;
  };
  if (b.elements == 0) {
    plane(*file_bytes);
    return true;
  }
  const Planes p = planes_of(dtype);
  const int64_t blocks = cols / b.elements;
  plane(blocks * p.quants);
  view->more = plane(blocks * p.more);
  view->scales = plane(blocks * p.scales);
  view->factors = plane(blocks * p.factors);
  return true;
}

// A row in planes as the file has it; file is zero.
void unpack_row(const WeightRows& w, const char* row, char* file) {
  const Planes p = planes_of(w.dtype);
  const Block b = block_of(w.dtype);
  for (int64_t block = 0; block < w.cols / b.elements; block++, file += b.bytes) {
    const char *quants = row + block * p.quants, *more = row + w.more + block * p.more;
    for (int32_t i = 0; i < b.elements; i++) {
      put_bits(file, file_low(w.dtype, i), get_bits(quants, quants_at(w.dtype, i), p.low_bits));
      if (p.more != 0) put_bits(file, file_more(w.dtype, i), get_bits(more, more_at(w.dtype, i), p.more_bits));
    }
    std::memcpy(file + p.scales_at, row + w.scales + block * p.scales, static_cast<size_t>(p.scales));
    std::memcpy(file + p.factors_at, row + w.factors + block * p.factors, static_cast<size_t>(p.factors));
  }
}

}  // namespace

CudaWeight::~CudaWeight() {
  if (pool != nullptr) pool->give(data, view.row_bytes * rows);
}

Status CudaDevice::weight_plan(int32_t dtype, int64_t rows, int64_t cols, int64_t* bytes) {
  WeightRows view{};
  int64_t file_bytes = 0;
  if (!lay_out(dtype, rows, cols, &view, &file_bytes) || __builtin_mul_overflow(view.row_bytes, rows, bytes))
    return fail(L3V_INVALID_ARGUMENT, "weight of %lld x %lld: its bytes do not fit 64 bits", static_cast<long long>(rows),
                static_cast<long long>(cols));
  const int64_t most = most_row_bytes(card_.shared_bytes);
  if (is_block_type(dtype) && view.row_bytes > most)
    return fail(L3V_UNSUPPORTED, "a %s weight of %lld columns: its rows of %lld bytes do not fit the %lld that a block of threads keeps of one",
                dtype_name(dtype), static_cast<long long>(cols), static_cast<long long>(view.row_bytes), static_cast<long long>(most));
  return {};
}

Status CudaDevice::weight_create(int32_t dtype, int64_t rows, int64_t cols, std::unique_ptr<Weight>* out) {
  int64_t bytes = 0;
  L3V_PASS(weight_plan(dtype, rows, cols, &bytes));
  auto w = std::make_unique<CudaWeight>();
  w->dtype = dtype;
  w->rows = rows;
  w->cols = cols;
  lay_out(dtype, rows, cols, &w->view, &w->file_bytes);
  L3V_PASS(pool_.take(bytes, "weight", &w->data));
  w->pool = &pool_;
  w->view.data = w->data;
  L3V_TRY(cudaMemsetAsync(w->data, 0, static_cast<size_t>(bytes), stream_));  // what rows are padded with
  *out = std::move(w);
  return {};
}

Status CudaDevice::weight_write(Weight* weight, int64_t first, int64_t rows, const void* src) {
  CudaWeight& w = *static_cast<CudaWeight*>(weight);
  const int64_t row_bytes = w.view.row_bytes;
  // Rows of most widths need no padding, and go in one piece.
  const int64_t each = w.file_bytes == row_bytes ? rows : 1;
  for (int64_t row = 0; row < rows; row += each)
    L3V_PASS(write(w.data + (first + row) * row_bytes, static_cast<const char*>(src) + row * w.file_bytes, each * w.file_bytes));
  if (!is_block_type(w.dtype)) return {};
  return failed(pack_rows(w.view, w.data, first, rows, stream_), "pack_rows");
}

Status CudaDevice::weight_read(const Weight* weight, int64_t first, int64_t rows, void* dst) {
  const CudaWeight& w = *static_cast<const CudaWeight*>(weight);
  const int64_t row_bytes = w.view.row_bytes;
  if (!is_block_type(w.dtype) && w.file_bytes == row_bytes) return read(dst, w.data + first * row_bytes, rows * row_bytes);
  const int64_t most = std::max<int64_t>(1, (1 << 20) / row_bytes);  // a mebibyte at once
  std::vector<char> part(static_cast<size_t>(std::min(most, rows) * row_bytes));
  for (int64_t row = 0; row < rows; row += most) {
    const int64_t count = std::min(most, rows - row);
    L3V_PASS(read(part.data(), w.data + (first + row) * row_bytes, count * row_bytes));
    for (int64_t i = 0; i < count; i++) {
      const char* from = part.data() + i * row_bytes;
      char* file = static_cast<char*>(dst) + (row + i) * w.file_bytes;
      std::memset(file, 0, static_cast<size_t>(w.file_bytes));
      if (is_block_type(w.dtype)) unpack_row(w.view, from, file);
      else std::memcpy(file, from, static_cast<size_t>(w.file_bytes));
    }
  }
  return {};
}

Status CudaDevice::weight_write_packed(Weight* w, int64_t offset, int64_t bytes, const void* src) {
  return write(static_cast<CudaWeight*>(w)->data + offset, src, bytes);
}

Status CudaDevice::weight_read_packed(const Weight* w, int64_t offset, int64_t bytes, void* dst) {
  return read(dst, static_cast<const CudaWeight*>(w)->data + offset, bytes);
}

}  // namespace l3v::cuda
