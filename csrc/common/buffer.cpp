// buffer.cpp: device memory and the copies to, from and within it.
#include "context.h"
#include "op.h"

namespace l3v {
namespace {

// Finds the bytes [offset, offset + bytes) of a buffer; what names them in a text.
Status range(l3v_context* ctx, const char* what, uint64_t id, int64_t offset, int64_t bytes,
             BufferObject** buffer) {
  if (Status s = ctx->find(id, buffer); !s.ok()) return s;
  if (bytes < 1)
    return fail(L3V_INVALID_ARGUMENT, "%s: bytes is %lld", what, static_cast<long long>(bytes));
  if (offset < 0 || offset > (*buffer)->bytes || bytes > (*buffer)->bytes - offset)
    return fail(L3V_INVALID_ARGUMENT, "%s: %lld bytes from byte %lld on leave buffer #%lld of %lld bytes",
                what, static_cast<long long>(bytes), static_cast<long long>(offset),
                l3v_context::number(id), static_cast<long long>((*buffer)->bytes));
  return {};
}

}  // namespace
}  // namespace l3v

using namespace l3v;

l3v_status l3v_buffer_alloc(l3v_context* ctx, int64_t bytes, uint64_t* out) {
  return enter(ctx, "l3v_buffer_alloc", During::kNoCapture, [&]() -> Status {
    if (out == nullptr) return fail(L3V_INVALID_ARGUMENT, "out is null");
    if (bytes < 1)
      return fail(L3V_INVALID_ARGUMENT, "bytes is %lld", static_cast<long long>(bytes));
    char* data = nullptr;
    if (Status s = ctx->device->alloc(bytes, &data); !s.ok()) return s;
    std::unique_ptr<Object> object;
    try {
      object = std::make_unique<BufferObject>(ctx->device.get(), data, bytes);
    } catch (...) {
      ctx->device->free(data, bytes);
      throw;
    }
    *out = ctx->add(std::move(object));
    return {};
  });
}

l3v_status l3v_buffer_free(l3v_context* ctx, uint64_t buffer) {
  return enter(ctx, "l3v_buffer_free", During::kNoCapture,
               [&] { return ctx->remove<BufferObject>(buffer); });
}

l3v_status l3v_buffer_write(l3v_context* ctx, uint64_t buffer, int64_t offset, const void* src,
                            int64_t bytes) {
  return enter(ctx, "l3v_buffer_write", During::kNoCapture, [&]() -> Status {
    BufferObject* b = nullptr;
    if (Status s = range(ctx, "dst", buffer, offset, bytes, &b); !s.ok()) return s;
    if (src == nullptr) return fail(L3V_INVALID_ARGUMENT, "src is null");
    return ctx->device->write(b->data + offset, src, bytes);
  });
}

l3v_status l3v_buffer_read(l3v_context* ctx, uint64_t buffer, int64_t offset, void* dst,
                           int64_t bytes) {
  return enter(ctx, "l3v_buffer_read", During::kNoCapture, [&]() -> Status {
    BufferObject* b = nullptr;
    if (Status s = range(ctx, "src", buffer, offset, bytes, &b); !s.ok()) return s;
    if (dst == nullptr) return fail(L3V_INVALID_ARGUMENT, "dst is null");
    if (Status s = ctx->device->synchronize(); !s.ok()) return s;
    return ctx->device->read(dst, b->data + offset, bytes);
  });
}

l3v_status l3v_buffer_copy(l3v_context* ctx, uint64_t dst, int64_t dst_offset, uint64_t src,
                           int64_t src_offset, int64_t bytes) {
  return enter(ctx, "l3v_buffer_copy", During::kCapture, [&]() -> Status {
    BufferObject *to = nullptr, *from = nullptr;
    if (Status s = range(ctx, "dst", dst, dst_offset, bytes, &to); !s.ok()) return s;
    if (Status s = range(ctx, "src", src, src_offset, bytes, &from); !s.ok()) return s;
    if (to == from && dst_offset < src_offset + bytes && src_offset < dst_offset + bytes)
      return fail(L3V_INVALID_ARGUMENT, "%lld bytes at %lld and at %lld of buffer #%lld overlap",
                  static_cast<long long>(bytes), static_cast<long long>(dst_offset),
                  static_cast<long long>(src_offset), l3v_context::number(dst));
    ctx->use(to);
    ctx->use(from);
    trace_copy(*ctx, dst, dst_offset, src, src_offset, bytes);
    return ctx->device->copy(to->data + dst_offset, from->data + src_offset, bytes);
  });
}
