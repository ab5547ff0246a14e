// context.cpp: contexts, ids, counters, errors and cancel.
#include "context.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "layout.h"

namespace l3v {
namespace {

// Tags are never zero, so that no id is. Starting from where the library was loaded keeps those of
// two libraries in one process apart.
uint64_t next_tag() {
  static std::atomic<uint64_t> next{0};
  const uint64_t place = reinterpret_cast<uintptr_t>(&next) >> 12;
  return ((next.fetch_add(1, std::memory_order_relaxed) + place) & 0x7fffff) | 0x800000;
}

bool trace_wanted() {
  const char* value = std::getenv("L3V_TRACE");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

// Runs what has no context to keep a text on: it goes to err.
template <class Body>
l3v_status enter_without_context(char* err, uint64_t cap, Body body) noexcept {
  copy_text("", err, cap);
  try {
    const Status s = body();
    if (!s.ok()) copy_text(s.text.c_str(), err, cap);
    return s.code;
  } catch (const std::bad_alloc&) {
    copy_text("the system has no memory left", err, cap);
    return L3V_OUT_OF_MEMORY;
  } catch (const std::exception& e) {
    copy_text(e.what(), err, cap);
    return L3V_INTERNAL;
  } catch (...) {
    copy_text("an exception of unknown kind", err, cap);
    return L3V_INTERNAL;
  }
}

Status create(const l3v_context_params* params, l3v_context** out) {
  l3v_context_params p;
  if (out == nullptr) return fail(L3V_INVALID_ARGUMENT, "out is null");
  *out = nullptr;
  if (Status s = read_params(params, &p); !s.ok()) return s;
  if (p.device < 0) return fail(L3V_INVALID_ARGUMENT, "device is %d", p.device);
  if (p.threads < 0) return fail(L3V_INVALID_ARGUMENT, "threads is %d", p.threads);
  if ((p.flags & ~L3V_CONTEXT_BATCH_INVARIANT) != 0)
    return fail(L3V_UNSUPPORTED, "flags are 0x%x, and this library knows 0x%x", p.flags, L3V_CONTEXT_BATCH_INVARIANT);
  if (p.memory_limit < 0)
    return fail(L3V_INVALID_ARGUMENT, "memory_limit is %lld", static_cast<long long>(p.memory_limit));
  if (std::memchr(p.kernels, 0, sizeof p.kernels) == nullptr)
    return fail(L3V_INVALID_ARGUMENT, "kernels has no NUL in its %zu bytes", sizeof p.kernels);

  auto ctx = std::make_unique<l3v_context>(p.memory_limit);
  if (Status s = backend_probe(p.device, &ctx->capabilities); !s.ok()) return s;
  if ((p.flags & L3V_CONTEXT_BATCH_INVARIANT) != 0 &&
      (ctx->capabilities.flags & (L3V_CAP_BATCH_INVARIANT | L3V_CAP_BATCH_INVARIANT_MODE)) == 0)
    return fail(L3V_UNSUPPORTED, "this library has no batch-invariant kernels");
  if (Status s = backend_create(p, &ctx->ledger, &ctx->device); !s.ok()) return s;
  *out = ctx.release();
  return {};
}

}  // namespace

void Failure::set(l3v_status new_code, const char* call, const char* why) {
  code = new_code;
  std::snprintf(text, sizeof text, "%s: %s", call, why);
}

void copy_text(const char* text, char* to, uint64_t cap) {
  if (to == nullptr || cap == 0) return;
  const size_t length = std::strlen(text);
  const size_t kept = length < cap ? length : static_cast<size_t>(cap - 1);
  std::memcpy(to, text, kept);
  to[kept] = 0;
}

void RowSet::add(int64_t first, int64_t end) {
  auto next = ranges_.upper_bound(first);
  if (next != ranges_.begin()) {
    auto before = std::prev(next);
    if (before->second >= first) {
      first = before->first;
      if (before->second > end) end = before->second;
      ranges_.erase(before);
    }
  }
  while (next != ranges_.end() && next->first <= end) {
    if (next->second > end) end = next->second;
    next = ranges_.erase(next);
  }
  ranges_.emplace(first, end);
}

int64_t RowSet::missing(int64_t rows) const {
  if (ranges_.empty() || ranges_.begin()->first > 0) return 0;
  return ranges_.begin()->second < rows ? ranges_.begin()->second : -1;
}

}  // namespace l3v

using namespace l3v;

l3v_context::l3v_context(int64_t memory_limit)
    : ledger(memory_limit), trace(trace_wanted()), tag_(next_tag()) {}

uint64_t l3v_context::add(std::unique_ptr<Object> object) {
  const uint64_t id = (tag_ << kSerialBits) | (last_ + 1);
  objects.emplace(id, std::move(object));
  last_++;
  return id;
}

Status l3v_context::find(uint64_t id, const char* kind, Object** out) {
  const auto at = objects.find(id);
  if (at != objects.end() && at->second->kind == kind) {
    *out = at->second.get();
    return {};
  }
  if (at != objects.end())
    return fail(L3V_INVALID_ARGUMENT, "#%lld is a %s, not a %s", number(id), at->second->kind, kind);
  if (id == 0) return fail(L3V_INVALID_ARGUMENT, "no %s is given: its id is 0", kind);
  if (id >> kSerialBits != tag_)
    return fail(L3V_INVALID_ARGUMENT, "%s id %llx is not of this context", kind,
                static_cast<unsigned long long>(id));
  if ((id & kSerialMask) <= last_)
    return fail(L3V_INVALID_ARGUMENT, "%s #%lld was freed", kind, number(id));
  return fail(L3V_INVALID_ARGUMENT, "%s #%lld was never made", kind, number(id));
}

Status l3v_context::remove(uint64_t id, const char* kind) {
  Object* object = nullptr;
  if (Status s = find(id, kind, &object); !s.ok()) return s;
  if (object->holds > 0)
    return fail(L3V_BUSY, "%s #%lld is used by %lld live graph%s", kind, number(id),
                static_cast<long long>(object->holds), object->holds == 1 ? "" : "s");
  device->drain();
  objects.erase(id);
  return {};
}

void l3v_context::end_capture() noexcept {
  capturing = false;
  capture_failure.code = L3V_OK;
  captured.clear();
}

l3v_status l3v_probe(int32_t device, l3v_capabilities* out, char* err, uint64_t cap) {
  return enter_without_context(err, cap, [&]() -> Status {
    l3v_capabilities found{};
    if (Status s = backend_probe(device, &found); !s.ok()) return s;
    return write_result(found, out);
  });
}

l3v_status l3v_context_create(const l3v_context_params* p, l3v_context** out, char* err,
                              uint64_t err_cap) {
  return enter_without_context(err, err_cap, [&] { return create(p, out); });
}

l3v_status l3v_context_destroy(l3v_context* ctx) {
  if (ctx == nullptr) return L3V_OK;
  // Nobody can see any more what the queued work would write.
  ctx->device->cancel();
  if (ctx->capturing) ctx->device->capture_abort();
  ctx->device->drain();
  // Graphs first: they let go of what they hold.
  for (auto at = ctx->objects.begin(); at != ctx->objects.end();)
    at = at->second->kind == GraphObject::kKind ? ctx->objects.erase(at) : std::next(at);
  ctx->objects.clear();
  delete ctx;
  return L3V_OK;
}

uint64_t l3v_last_error(l3v_context* ctx, char* buf, uint64_t cap) {
  const char* text = ctx == nullptr ? "the context is null" : ctx->error.text;
  if (ctx != nullptr) ctx->entries.fetch_add(1, std::memory_order_relaxed);
  copy_text(text, buf, cap);
  return std::strlen(text) + 1;
}

// Any thread, at any moment: nothing but atomics here.
l3v_status l3v_cancel(l3v_context* ctx) {
  if (ctx == nullptr) return L3V_INVALID_ARGUMENT;
  ctx->entries.fetch_add(1, std::memory_order_relaxed);
  if (ctx->lost.load(std::memory_order_relaxed)) return L3V_DEVICE_LOST;
  ctx->device->cancel();
  return L3V_OK;
}

l3v_status l3v_synchronize(l3v_context* ctx) {
  return enter(ctx, "l3v_synchronize", During::kNoCapture, [&] { return ctx->device->synchronize(); });
}

l3v_status l3v_counters_read(l3v_context* ctx, l3v_counters* out) {
  return enter(ctx, "l3v_counters_read", During::kNoCapture, [&]() -> Status {
    l3v_counters c{};
    // Reading is not counted, so that the difference of two readings is the calls between them.
    c.entries = ctx->entries.fetch_sub(1, std::memory_order_relaxed) - 1;
    c.ops = ctx->device->ops_run();
    c.captures = ctx->captures;
    c.replays = ctx->replays;
    c.allocations = ctx->ledger.allocations;
    c.objects = static_cast<int64_t>(ctx->objects.size());
    c.bytes = ctx->ledger.bytes;
    c.bytes_peak = ctx->ledger.bytes_peak;
    c.workspace = ctx->ledger.workspace;
    return write_result(c, out);
  });
}

l3v_status l3v_device_status_read(l3v_context* ctx, l3v_device_status* out) {
  return enter(ctx, "l3v_device_status_read", During::kNoCapture,
               [&] { return write_result(ctx->device->device_status(), out); });
}
