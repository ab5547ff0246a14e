#include "weight.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

#include "../common/blocks.h"
#include "../common/float16.h"
#include "memory.h"
#include "weight_blocks.h"

namespace l3v::cpu {
namespace {

struct Layout {
  int64_t block_cols, block_bytes, panel_bytes, bytes;
};

// False when the size does not fit 64 bits.
bool layout_of(int32_t dtype, int64_t rows, int64_t cols, Layout* out) {
  const int64_t panels = rows / kPanel + (rows % kPanel != 0);
  const Block block = block_of(dtype);
  out->block_cols = is_block_type(dtype) ? block.elements : dtype == L3V_BF16 ? 2 : 1;
  out->block_bytes = kPanel * (is_block_type(dtype) ? block.bytes : dtype == L3V_F16 ? 2 : 4);
  const int64_t blocks = cols / out->block_cols + (cols % out->block_cols != 0);
  return !__builtin_mul_overflow(blocks, out->block_bytes, &out->panel_bytes) &&
         !__builtin_mul_overflow(panels, out->panel_bytes, &out->bytes);
}

// Where element (row, k) lies, in elements of the panel data.
inline int64_t f32_or_f16_index(int64_t row, int64_t k) { return k * kPanel + row; }
inline int64_t bf16_index(int64_t row, int64_t k) { return (k / 2 * kPanel + row) * 2 + (k & 1); }

// Walks rows [first, first + rows) in pieces that lie in one panel and are short enough along k
// that the piece's side of the panel stays in the first cache while its rows are gone through:
// each(panel, row in panel, rows, k, columns).
template <class Each>
void for_pieces(const PackedWeight& w, int64_t first, int64_t rows, Each each) {
  constexpr int64_t kColumns = 64;
  for (int64_t row = first; row < first + rows;) {
    const int64_t lane = row % kPanel, count = std::min(kPanel - lane, first + rows - row);
    for (int64_t k = 0; k < w.cols; k += kColumns)
      each(row / kPanel, lane, row - first, count, k, std::min(kColumns, w.cols - k));
    row += count;
  }
}

}  // namespace

PackedWeight::~PackedWeight() {
  release(data, bytes);
  if (ledger != nullptr) ledger->give(bytes);
}

Status weight_plan(int32_t dtype, int64_t rows, int64_t cols, int64_t* bytes) {
  Layout layout;
  if (!layout_of(dtype, rows, cols, &layout))
    return fail(L3V_INVALID_ARGUMENT, "weight of %lld x %lld: its bytes do not fit 64 bits",
                static_cast<long long>(rows), static_cast<long long>(cols));
  *bytes = layout.bytes;
  return {};
}

Status weight_create(int32_t dtype, int64_t rows, int64_t cols, Ledger* ledger,
                     std::unique_ptr<Weight>* out) {
  Layout layout;
  if (!layout_of(dtype, rows, cols, &layout)) return weight_plan(dtype, rows, cols, &layout.bytes);
  std::unique_ptr<PackedWeight> w(new (std::nothrow) PackedWeight);
  if (w == nullptr) return fail(L3V_OUT_OF_MEMORY, "weight: no memory for its description");
  if (Status s = ledger->take(layout.bytes, "weight"); !s.ok()) return s;
  w->ledger = ledger;
  w->bytes = layout.bytes;
  w->dtype = dtype;
  w->rows = rows;
  w->cols = cols;
  w->block_cols = layout.block_cols;
  w->block_bytes = layout.block_bytes;
  w->panel_bytes = layout.panel_bytes;
  w->data = allocate(layout.bytes);
  if (w->data == nullptr)
    return fail(L3V_OUT_OF_MEMORY, "weight of %lld x %lld: the system has no %lld bytes left",
                static_cast<long long>(rows), static_cast<long long>(cols),
                static_cast<long long>(layout.bytes));
  *out = std::move(w);
  return {};
}

void weight_write(Weight* weight, int64_t first, int64_t rows, const void* src) {
  PackedWeight& w = *static_cast<PackedWeight*>(weight);
  const char* from = static_cast<const char*>(src);  // of any alignment: memcpy reads it
  if (is_block_type(w.dtype)) return weight_blocks_write(w, first, rows, from);
  const int64_t size = w.dtype == L3V_F32 ? 4 : 2;
  for_pieces(w, first, rows, [&](int64_t panel, int64_t lane, int64_t row, int64_t count, int64_t k,
                                 int64_t columns) {
    char* to = w.data + panel * w.panel_bytes;
    for (int64_t r = 0; r < count; r++) {
      const char* line = from + ((row + r) * w.cols + k) * size;
      if (w.dtype == L3V_F32) {
        char* p = to + f32_or_f16_index(lane + r, k) * 4;
        for (int64_t i = 0; i < columns; i++) std::memcpy(p + i * kPanel * 4, line + i * 4, 4);
      } else if (w.dtype == L3V_F16) {
        char* p = to + f32_or_f16_index(lane + r, k) * 2;
        for (int64_t i = 0; i < columns; i++) std::memcpy(p + i * kPanel * 2, line + i * 2, 2);
      } else {
        char* p = to + bf16_index(lane + r, k) * 2;  // k is even here
        for (int64_t i = 0; i < columns / 2; i++) std::memcpy(p + i * kPanel * 4, line + i * 4, 4);
        if (columns & 1) std::memcpy(p + columns / 2 * kPanel * 4, line + (columns - 1) * 2, 2);
      }
    }
  });
}

void weight_read(const Weight* weight, int64_t first, int64_t rows, void* dst) {
  const PackedWeight& w = packed(weight);
  char* to = static_cast<char*>(dst);
  if (is_block_type(w.dtype)) return weight_blocks_read(w, first, rows, to);
  const int64_t size = w.dtype == L3V_F32 ? 4 : 2;
  for_pieces(w, first, rows, [&](int64_t panel, int64_t lane, int64_t row, int64_t count, int64_t k,
                                 int64_t columns) {
    const char* from = w.data + panel * w.panel_bytes;
    for (int64_t r = 0; r < count; r++) {
      char* line = to + ((row + r) * w.cols + k) * size;
      if (w.dtype == L3V_F32) {
        const char* p = from + f32_or_f16_index(lane + r, k) * 4;
        for (int64_t i = 0; i < columns; i++) std::memcpy(line + i * 4, p + i * kPanel * 4, 4);
      } else if (w.dtype == L3V_F16) {
        const char* p = from + f32_or_f16_index(lane + r, k) * 2;
        for (int64_t i = 0; i < columns; i++) std::memcpy(line + i * 2, p + i * kPanel * 2, 2);
      } else {
        const char* p = from + bf16_index(lane + r, k) * 2;
        for (int64_t i = 0; i < columns / 2; i++) std::memcpy(line + i * 4, p + i * kPanel * 4, 4);
        if (columns & 1) std::memcpy(line + (columns - 1) * 2, p + columns / 2 * kPanel * 4, 2);
      }
    }
  });
}

void weight_row(const PackedWeight& w, int64_t row, float* out) {
  if (is_block_type(w.dtype)) return weight_blocks_row(w, row, out);
  const char* panel = w.at(row / kPanel, 0);
  const int64_t lane = row % kPanel;
  if (w.dtype == L3V_F32) {
    const float* p = reinterpret_cast<const float*>(panel);
    for (int64_t k = 0; k < w.cols; k++) out[k] = p[f32_or_f16_index(lane, k)];
  } else if (w.dtype == L3V_F16) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(panel);
    for (int64_t k = 0; k < w.cols; k++) out[k] = widen_f16(p[f32_or_f16_index(lane, k)]);
  } else {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(panel);
    for (int64_t k = 0; k < w.cols; k++) out[k] = widen_bf16(p[bf16_index(lane, k)]);
  }
}

}  // namespace l3v::cpu
