#include "op.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "blocks.h"

namespace l3v {
namespace {

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }  // b > 0

// Whether [begin, end) meets a row of x.
bool meets_row(const Extent& x, int64_t begin, int64_t end) {
  // Row i is [x.begin + i stride, ... + row_bytes): the first i whose row ends behind begin.
  int64_t i = floor_div(begin - x.begin - x.row_bytes, x.stride_bytes) + 1;
  if (i < 0) i = 0;
  return i < x.rows && x.begin + i * x.stride_bytes < end;
}

int64_t end_of(const Extent& x) { return x.begin + (x.rows - 1) * x.stride_bytes + x.row_bytes; }

}  // namespace

int64_t element_size(int32_t dtype) {
  switch (dtype) {
    case L3V_F32:
    case L3V_I32: return 4;
    case L3V_F16:
    case L3V_BF16: return 2;
    case L3V_U8:
    case L3V_I8: return 1;
    default: return 0;
  }
}

const char* dtype_name(int32_t dtype) {
  switch (dtype) {
    case L3V_F32: return "f32";
    case L3V_F16: return "f16";
    case L3V_BF16: return "bf16";
    case L3V_I32: return "i32";
    case L3V_U8: return "u8";
    case L3V_I8: return "i8";
    case L3V_Q4_0: return "q4_0";
    case L3V_Q4_1: return "q4_1";
    case L3V_Q5_0: return "q5_0";
    case L3V_Q5_1: return "q5_1";
    case L3V_Q8_0: return "q8_0";
    case L3V_Q2_K: return "q2_k";
    case L3V_Q3_K: return "q3_k";
    case L3V_Q4_K: return "q4_k";
    case L3V_Q5_K: return "q5_k";
    case L3V_Q6_K: return "q6_k";
    case L3V_IQ4_NL: return "iq4_nl";
    case L3V_IQ4_XS: return "iq4_xs";
    default: return "unknown";
  }
}

bool Extent::same(const Extent& b) const {
  return buffer == b.buffer && begin == b.begin && row_bytes == b.row_bytes && rows == b.rows &&
         dtype == b.dtype && (rows == 1 || stride_bytes == b.stride_bytes);
}

bool Extent::overlaps(const Extent& b) const {
  const Extent& a = *this;
  if (a.buffer != b.buffer || end_of(a) <= b.begin || end_of(b) <= a.begin) return false;
  if (a.rows > 1 && b.rows > 1 && a.stride_bytes == b.stride_bytes) {
    // Row i of a meets row j of b iff their distance, (j - i) stride + b.begin - a.begin, lies
    // between -b.row_bytes and a.row_bytes; m = i - j.
    const int64_t apart = b.begin - a.begin, stride = a.stride_bytes;
    int64_t m = floor_div(apart - a.row_bytes, stride) + 1;
    if (m < 1 - b.rows) m = 1 - b.rows;
    return m < a.rows && m * stride < apart + b.row_bytes;
  }
  const Extent& few = a.rows < b.rows ? a : b;
  const Extent& many = a.rows < b.rows ? b : a;
  for (int64_t i = 0; i < few.rows; i++) {
    const int64_t begin = few.begin + i * few.stride_bytes;
    if (meets_row(many, begin, begin + few.row_bytes)) return true;
  }
  return false;
}

void Op::require(bool holds, l3v_status code, const char* format, ...) {
  if (holds || !status_.ok()) return;
  char text[400];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  status_ = {code, text};
}

int64_t Op::between(const char* name, int64_t value, int64_t least, int64_t most) {
  note(name, value);
  require(value >= least, L3V_INVALID_ARGUMENT, "%s is %lld, below %lld", name,
          static_cast<long long>(value), static_cast<long long>(least));
  require(value <= most, L3V_INVALID_ARGUMENT, "%s is %lld, above %lld", name,
          static_cast<long long>(value), static_cast<long long>(most));
  // After a failure a value that the op's own arithmetic bears: nothing comes of it.
  return status_.ok() ? value : least;
}

float Op::positive(const char* name, float value) {
  require(std::isfinite(value) && value > 0, L3V_INVALID_ARGUMENT, "%s is %g, not a finite number above 0",
          name, static_cast<double>(value));
  return value;
}

int64_t Op::product(const char* name, int64_t a, int64_t b) {
  int64_t result = 0;
  if (!status_.ok()) return 0;
  require(!__builtin_mul_overflow(a, b, &result), L3V_INVALID_ARGUMENT,
          "%s: %lld x %lld does not fit 64 bits", name, static_cast<long long>(a),
          static_cast<long long>(b));
  return result;
}

int32_t Op::activation(int32_t value) {
  note("activation", value);
  require(value >= L3V_ACT_NONE && value <= L3V_ACT_SILU, L3V_INVALID_ARGUMENT,
          "activation %d is not known", value);
  return value;
}

int32_t Op::compute(int32_t value, const Weight& weight) {
  note("compute", value);
  require(element_size(value) != 0, L3V_INVALID_ARGUMENT, "compute type %d is not known", value);
  if (!status_.ok()) return value;
  require((ctx_.capabilities.compute_types >> value & 1) != 0, L3V_UNSUPPORTED,
          "this library does not compute in %s", dtype_name(value));
  const bool blocks = value == L3V_I8 || (ctx_.capabilities.flags & L3V_CAP_BLOCKS_IN_HALF) != 0;
  require(value == L3V_F32 || value == weight.dtype || (blocks && is_block_type(weight.dtype)), L3V_UNSUPPORTED,
          "compute in %s takes weights of %s, and these are %s", dtype_name(value),
          value == L3V_I8 ? "a block type" : blocks ? "that type or a block type" : "that type",
          dtype_name(weight.dtype));
  return value;
}

void Op::heads(int32_t heads, int32_t kv_heads, int32_t head_dim) {
  count("heads", heads);
  count("kv_heads", kv_heads);
  count("head_dim", head_dim);
  if (!status_.ok()) return;
  require(heads % kv_heads == 0, L3V_INVALID_ARGUMENT, "%d heads do not share %d kv_heads evenly", heads,
          kv_heads);
  require(head_dim <= ctx_.capabilities.max_head_dim, L3V_UNSUPPORTED,
          "head_dim is %d, and the library's kernels end at %d", head_dim, ctx_.capabilities.max_head_dim);
}

void Op::same_type(const char* a_name, const Matrix& a, const char* b_name, const Matrix& b) {
  require(a.dtype == b.dtype, L3V_INVALID_ARGUMENT, "%s holds %s and %s %s, and they must be of one type", a_name,
          dtype_name(a.dtype), b_name, dtype_name(b.dtype));
}

const Weight& Op::weight(uint64_t id) {
  none_.rows = none_.cols = 1;
  if (!status_.ok()) return none_;
  WeightObject* w = nullptr;
  if (status_ = ctx_.find(id, &w); !status_.ok()) return none_;
  if (ctx_.trace) {
    char text[96];
    std::snprintf(text, sizeof text, " weight=#%lld[%lld x %lld %s]", l3v_context::number(id),
                  static_cast<long long>(w->weight->rows), static_cast<long long>(w->weight->cols),
                  dtype_name(w->weight->dtype));
    trace_ += text;
  }
  const int64_t missing = w->written.missing(w->weight->rows);
  require(missing < 0, L3V_INVALID_ARGUMENT, "row %lld of weight #%lld was never written",
          static_cast<long long>(missing), l3v_context::number(id));
  ctx_.use(w);
  return *w->weight;
}

Matrix Op::in(const char* name, const l3v_view& v, int64_t rows, int64_t cols, Holds holds) {
  return view(name, v, rows, cols, holds, false, {});
}

Matrix Op::optional(const char* name, const l3v_view& v, int64_t rows, int64_t cols, Holds holds) {
  return v.buffer == 0 ? Matrix{} : view(name, v, rows, cols, holds, false, {});
}

Matrix Op::out(const char* name, const l3v_view& v, int64_t rows, int64_t cols, Holds holds,
               std::initializer_list<const char*> in_place) {
  return view(name, v, rows, cols, holds, true, in_place);
}

Matrix Op::optional_out(const char* name, const l3v_view& v, int64_t rows, int64_t cols, Holds holds) {
  return v.buffer == 0 ? Matrix{} : view(name, v, rows, cols, holds, true, {});
}

Matrix Op::view(const char* name, const l3v_view& v, int64_t rows, int64_t cols, Holds holds, bool is_out,
                std::initializer_list<const char*> in_place) {
  if (!status_.ok()) return {};
  Extent at{};
  if (status_ = place(name, v, rows, cols, holds, &at); !status_.ok()) return {};
  for (int i = 0; is_out && i < view_count_; i++) {
    const Extent& other = views_[i];
    bool allowed = false;
    for (const char* in : in_place) allowed = allowed || std::strcmp(in, other.name) == 0;
    if (allowed && at.same(other)) continue;
    require(!at.overlaps(other), L3V_INVALID_ARGUMENT, "%s and %s overlap in buffer #%lld%s", name,
            other.name, l3v_context::number(v.buffer), allowed ? " and are not the same view" : "");
  }
  if (view_count_ == kMaxViews) {
    status_ = fail(L3V_INTERNAL, "the op has more than %d views", kMaxViews);
    return {};
  }
  views_[view_count_++] = at;
  return {at.buffer->data + at.begin, v.row_stride == 0 ? cols : v.row_stride, v.dtype};
}

Status Op::place(const char* name, const l3v_view& v, int64_t rows, int64_t cols, Holds holds,
                 Extent* at) {
  BufferObject* buffer = nullptr;
  if (Status s = ctx_.find(v.buffer, &buffer); !s.ok())
    return fail(s.code, "%s: %s", name, s.text.c_str());
  const auto n = [](int64_t x) { return static_cast<long long>(x); };
  if (ctx_.trace) {
    char text[160];
    std::snprintf(text, sizeof text, " %s=#%lld+%lld[%lld x %lld", name, l3v_context::number(v.buffer),
                  n(v.offset), n(rows), n(cols));
    trace_ += text;
    if (v.row_stride != 0 && v.row_stride != cols) trace_ += " of " + std::to_string(v.row_stride);
    trace_ += std::string(" ") + dtype_name(v.dtype) + "]";
  }
  if (v.reserved0 != 0)
    return fail(L3V_INVALID_ARGUMENT, "%s: reserved0 is %u, and must be zero", name, v.reserved0);

  const int64_t size = element_size(v.dtype);
  if (is_block_type(v.dtype))
    return fail(L3V_INVALID_ARGUMENT, "%s: holds %s, a type of weights alone", name, dtype_name(v.dtype));
  if (size == 0) return fail(L3V_INVALID_ARGUMENT, "%s: dtype %d is not known", name, v.dtype);
  const bool is_float = v.dtype == L3V_F32 || v.dtype == L3V_F16 || v.dtype == L3V_BF16;
  const bool floats = holds == Holds::kActivations || holds == Holds::kFloats;
  if (floats && !is_float)
    return fail(L3V_INVALID_ARGUMENT, "%s: holds %s, not a float type", name, dtype_name(v.dtype));
  if (floats && (ctx_.capabilities.activation_types >> v.dtype & 1) == 0)
    return fail(L3V_UNSUPPORTED, "%s: this library has no activations of type %s", name,
                dtype_name(v.dtype));
  if (holds == Holds::kFloats && v.dtype != L3V_F32)
    return fail(L3V_UNSUPPORTED, "%s: holds %s, and the op takes f32 there", name, dtype_name(v.dtype));
  if (holds == Holds::kIndexes && v.dtype != L3V_I32)
    return fail(L3V_INVALID_ARGUMENT, "%s: holds %s, not i32", name, dtype_name(v.dtype));
  if (holds == Holds::kMask && v.dtype != L3V_U8)
    return fail(L3V_INVALID_ARGUMENT, "%s: holds %s, not u8", name, dtype_name(v.dtype));

  if (v.offset < 0 || v.offset % size != 0)
    return fail(L3V_INVALID_ARGUMENT, "%s: offset is %lld, not a multiple of %lld bytes", name,
                n(v.offset), n(size));
  const int64_t stride = v.row_stride == 0 ? cols : v.row_stride;
  if (stride < cols)
    return fail(L3V_INVALID_ARGUMENT, "%s: row_stride is %lld, below the %lld columns", name, n(stride),
                n(cols));
  int64_t end;
  if (__builtin_mul_overflow(rows - 1, stride, &end) || __builtin_add_overflow(end, cols, &end) ||
      __builtin_mul_overflow(end, size, &end) || __builtin_add_overflow(end, v.offset, &end) ||
      end > buffer->bytes)
    return fail(L3V_INVALID_ARGUMENT,
                "%s: %lld x %lld %s values with row stride %lld from byte %lld on leave buffer #%lld of "
                "%lld bytes",
                name, n(rows), n(cols), dtype_name(v.dtype), n(stride), n(v.offset),
                l3v_context::number(v.buffer), n(buffer->bytes));
  // One row may have a stride beyond any buffer; no arithmetic needs it then.
  *at = {name, buffer, v.offset, cols * size, rows == 1 ? cols * size : stride * size, rows, v.dtype};
  ctx_.use(buffer);
  return {};
}

void Op::note(const char* name, int64_t value) {
  if (!ctx_.trace) return;
  trace_ += std::string(" ") + name + "=" + std::to_string(value);
}

void Op::print_trace() const {
  std::fprintf(stderr, "%s%s%s%s%s\n", call_, ctx_.capturing ? " (captured)" : "", trace_.c_str(),
               status_.ok() ? "" : ": ", status_.text.c_str());
}

void trace_copy(const l3v_context& ctx, uint64_t dst, int64_t dst_offset, uint64_t src,
                int64_t src_offset, int64_t bytes) {
  if (!ctx.trace) return;
  std::fprintf(stderr, "l3v_buffer_copy%s dst=#%lld+%lld src=#%lld+%lld bytes=%lld\n",
               ctx.capturing ? " (captured)" : "", l3v_context::number(dst),
               static_cast<long long>(dst_offset), l3v_context::number(src),
               static_cast<long long>(src_offset), static_cast<long long>(bytes));
}

}  // namespace l3v
