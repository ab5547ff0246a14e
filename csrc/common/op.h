// op.h: how an op checks its params and hands them to the device.
//
// An op is one function that names each field once, in order: counts, settings, weights, inputs,
// then outputs. Op keeps the first failure, and every check after it does nothing, so that an op
// reads without an if. A view is checked when it is named: type, place in its buffer, and for an
// output that it overlaps nothing named before it.
#ifndef L3V_COMMON_OP_H
#define L3V_COMMON_OP_H

#include <cstdint>
#include <initializer_list>
#include <string>

#include "context.h"
#include "layout.h"

namespace l3v {

int64_t element_size(int32_t dtype);     // bytes; 0: no such type, or one of blocks (blocks.h)
const char* dtype_name(int32_t dtype);   // "f32"

// What a view may hold.
enum class Holds {
  kActivations,  // a float type that the library lists
  kFloats,       // float32
  kIndexes,      // int32
  kMask,         // uint8
  kAnything,     // any type
};

// Where a view lies: rows of row_bytes, each stride_bytes behind the one before.
struct Extent {
  const char* name;
  const BufferObject* buffer;
  int64_t begin, row_bytes, stride_bytes, rows;
  int32_t dtype;
  bool same(const Extent& b) const;
  // Whether any byte is in both. Judged row by row, not by the hull: the columns of q, k and v in
  // one fused row are apart although their rows interleave.
  bool overlaps(const Extent& b) const;
};

class Op {
 public:
  Op(l3v_context& ctx, const char* call) : ctx_(ctx), call_(call) {}

  const l3v_capabilities& capabilities() const { return ctx_.capabilities; }

  // A value of at least one.
  int64_t count(const char* name, int64_t value) { return between(name, value, 1, INT64_MAX); }
  int32_t count(const char* name, int32_t value) {
    return static_cast<int32_t>(between(name, value, 1, INT32_MAX));
  }
  // least after a failure.
  int64_t between(const char* name, int64_t value, int64_t least, int64_t most);
  // A finite number above zero.
  float positive(const char* name, float value);
  // a * b, of counts.
  int64_t product(const char* name, int64_t a, int64_t b);
  // One of L3V_ACT_...
  int32_t activation(int32_t value);
  // An element type that the library computes in, on a weight of this type.
  int32_t compute(int32_t value, const Weight& weight);
  // Heads that share kv_heads evenly, of a size the library has kernels for.
  void heads(int32_t heads, int32_t kv_heads, int32_t head_dim);
  // Any other condition; what is a sentence's part, "rows is 3".
#if defined(__GNUC__)
  __attribute__((format(printf, 4, 5)))
#endif
  void require(bool holds, l3v_status code, const char* format, ...);

  // A weight all of whose rows were written. A small empty one stands in after a failure.
  const Weight& weight(uint64_t id);
  Matrix in(const char* name, const l3v_view& v, int64_t rows, int64_t cols,
            Holds holds = Holds::kFloats);
  // A view that may be none.
  Matrix optional(const char* name, const l3v_view& v, int64_t rows, int64_t cols,
                  Holds holds = Holds::kFloats);
  // in_place: the inputs that it may be the very same view as.
  Matrix out(const char* name, const l3v_view& v, int64_t rows, int64_t cols,
             Holds holds = Holds::kFloats, std::initializer_list<const char*> in_place = {});
  Matrix optional_out(const char* name, const l3v_view& v, int64_t rows, int64_t cols,
                      Holds holds = Holds::kFloats);
  // Two activations of one type.
  void same_type(const char* a_name, const Matrix& a, const char* b_name, const Matrix& b);

  // Queues the op unless a check failed.
  template <class Args>
  Status run(Status (Device::*op)(const Args&), const Args& args) {
    if (ctx_.trace) print_trace();
    if (!status_.ok()) return status_;
    return (ctx_.device.get()->*op)(args);
  }

 private:
  Matrix view(const char* name, const l3v_view& v, int64_t rows, int64_t cols, Holds holds,
              bool is_out, std::initializer_list<const char*> in_place);
  Status place(const char* name, const l3v_view& v, int64_t rows, int64_t cols, Holds holds,
               Extent* at);
  void note(const char* name, int64_t value);
  void print_trace() const;

  static constexpr int kMaxViews = 8;
  l3v_context& ctx_;
  const char* call_;
  Status status_;
  Weight none_;
  Extent views_[kMaxViews];
  int view_count_ = 0;
  std::string trace_;
};

// Runs an op: body is (Op&, const P&) -> Status with the params as this library knows them.
template <class P, class Body>
l3v_status queue_op(l3v_context* ctx, const char* call, const P* params, Body body) {
  return enter(ctx, call, During::kCapture, [&]() -> Status {
    P p;
    if (Status s = read_params(params, &p); !s.ok()) return s;
    Op op(*ctx, call);
    return body(op, p);
  });
}

void trace_copy(const l3v_context& ctx, uint64_t dst, int64_t dst_offset, uint64_t src,
                int64_t src_offset, int64_t bytes);

}  // namespace l3v
#endif
