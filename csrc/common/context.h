// context.h: the object behind l3v_context, and the gate that every exported call passes.
#ifndef L3V_COMMON_CONTEXT_H
#define L3V_COMMON_CONTEXT_H

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <unordered_map>
#include <vector>

#include "backend.h"
#include "object.h"

namespace l3v {

// A status whose text needs no allocation: it is kept where memory may just have run out.
struct Failure {
  l3v_status code = L3V_OK;
  char text[640] = "";
  void set(l3v_status code, const char* call, const char* text);
};

// Copies text to a caller's buffer of cap bytes, cut to fit and ended by a NUL; a null one is none.
void copy_text(const char* text, char* to, uint64_t cap);

}  // namespace l3v

// One thread at a time but for the atomics, which l3v_cancel reads and counts.
struct l3v_context {
  explicit l3v_context(int64_t memory_limit);

  // Gives the object an id.
  uint64_t add(std::unique_ptr<l3v::Object> object);
  // The living object of kind T under id, or L3V_INVALID_ARGUMENT with what id is instead.
  template <class T>
  l3v::Status find(uint64_t id, T** out) {
    l3v::Object* object = nullptr;
    if (l3v::Status s = find(id, T::kKind, &object); !s.ok()) return s;
    *out = static_cast<T*>(object);
    return {};
  }
  // Waits for the work that may use the object and frees it; L3V_BUSY while a graph holds it.
  template <class T>
  l3v::Status remove(uint64_t id) {
    return remove(id, T::kKind);
  }
  // The number of an id as texts show it: 1 is the context's first object.
  static long long number(uint64_t id) { return static_cast<long long>(id & kSerialMask); }

  // Notes that the open capture uses the object.
  void use(l3v::Object* object) {
    if (capturing) captured.push_back(object);
  }
  void end_capture() noexcept;

  // In this order: objects go first, as they give back to the device and the ledger.
  l3v::Ledger ledger;
  std::unique_ptr<l3v::Device> device;
  std::unordered_map<uint64_t, std::unique_ptr<l3v::Object>> objects;
  l3v_capabilities capabilities{};

  bool capturing = false;
  l3v::Failure capture_failure;         // of the first op that failed in the open capture
  std::vector<l3v::Object*> captured;   // what its ops use, with repetitions

  int64_t captures = 0, replays = 0;
  std::atomic<int64_t> entries{0};
  std::atomic<bool> lost{false};
  l3v::Failure lost_failure;
  l3v::Failure error;  // the newest failure
  bool trace;          // L3V_TRACE=1: ops are printed to stderr

 private:
  // An id is the context's tag over a serial number, so that no id is used twice and one of
  // another context is known as such.
  static constexpr int kSerialBits = 40;
  static constexpr uint64_t kSerialMask = (uint64_t{1} << kSerialBits) - 1;
  l3v::Status find(uint64_t id, const char* kind, l3v::Object** out);
  l3v::Status remove(uint64_t id, const char* kind);
  const uint64_t tag_;
  uint64_t last_ = 0;
};

namespace l3v {

// What a call is to an open capture.
enum class During {
  kNoCapture,  // refused: L3V_BUSY
  kCapture,    // belongs to the capture: its failure is the capture's
  kAlways,     // allowed, and no part of it
};

// Passes one call: counts it, refuses it where the context is lost or capturing, turns an exception
// into a status, and keeps the text of a failure. body: () -> Status.
template <class Body>
l3v_status enter(l3v_context* ctx, const char* call, During during, Body body) noexcept {
  if (ctx == nullptr) return L3V_INVALID_ARGUMENT;
  ctx->entries.fetch_add(1, std::memory_order_relaxed);
  if (ctx->lost.load(std::memory_order_relaxed)) {
    ctx->error = ctx->lost_failure;
    return L3V_DEVICE_LOST;
  }
  if (ctx->capturing && during == During::kNoCapture) {
    ctx->error.set(L3V_BUSY, call, "a capture is open, and takes only ops and l3v_buffer_copy");
    return L3V_BUSY;
  }
  const bool captures = ctx->capturing && during == During::kCapture;
  try {
    const Status s = body();
    if (s.ok()) return L3V_OK;
    ctx->error.set(s.code, call, s.text.c_str());
  } catch (const std::bad_alloc&) {
    ctx->error.set(L3V_OUT_OF_MEMORY, call, "the system has no memory for the call's own records");
  } catch (const std::exception& e) {
    ctx->error.set(L3V_INTERNAL, call, e.what());
  } catch (...) {
    ctx->error.set(L3V_INTERNAL, call, "an exception of unknown kind");
  }
  if (captures && ctx->capture_failure.code == L3V_OK) ctx->capture_failure = ctx->error;
  if (ctx->error.code == L3V_DEVICE_LOST) {
    ctx->lost_failure = ctx->error;
    ctx->lost.store(true, std::memory_order_relaxed);
  }
  return ctx->error.code;
}

}  // namespace l3v
#endif
