/* fake.c: a backend library that computes nothing and fails as told, so that error paths need no
 * device. C and C++ both compile it.
 *
 * Built with  FAKE_NAME, FAKE_FLAGS   its l3v_capabilities
 *             FAKE_ABI                another version
 *             FAKE_BAD_STRUCT=id with FAKE_GROW=bytes (size), FAKE_SHIFT=bytes (last field)
 *             FAKE_TAIL               one more field behind every struct, as a newer minor may have
 *             FAKE_NO_VERSION, FAKE_MISSING, FAKE_PROBE=status, FAKE_NEEDS (a symbol of another library)
 * Told by     kernels "echo"          every call fails, and its text is the arguments
 *             memory_limit k          the k-th allocation fails
 *             l3v_advance             returns sequences as its status
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llama3v.h"

#ifndef FAKE_NAME
#define FAKE_NAME "cpu"
#endif
#ifndef FAKE_FLAGS
#define FAKE_FLAGS L3V_CAP_CAPTURE
#endif
#ifndef FAKE_ABI
#define FAKE_ABI L3V_ABI_VERSION
#endif
#ifndef FAKE_BAD_STRUCT
#define FAKE_BAD_STRUCT 0
#endif
#ifndef FAKE_GROW
#define FAKE_GROW 0
#endif
#ifndef FAKE_SHIFT
#define FAKE_SHIFT 0
#endif
#ifndef FAKE_PROBE
#define FAKE_PROBE L3V_OK
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct l3v_context {
  char text[1024];
  int echo;
  int64_t fail_at, made, alive, entries;
  uint64_t next_id;
  volatile int cancelled;
};

/* sizeof and offsetof of everything in llama3v.h, written by the test that builds this. */
#include "fake_layouts.h"

#ifdef FAKE_NEEDS
int fake_absent(void);
int fake_uses(void) { return fake_absent(); }
#endif

/* Exported on purpose: with global names, one fake would call the other's. */
L3V_API const char* fake_inner(void) { return FAKE_NAME; }

#ifndef FAKE_NO_VERSION
uint32_t l3v_abi_version(void) { return FAKE_ABI; }
#endif

l3v_status l3v_struct_layout(uint32_t id, uint32_t* size, uint32_t* offsets, uint32_t cap, uint32_t* fields) {
  if (id < 1 || id > L3V_STRUCT_COUNT) return L3V_INVALID_ARGUMENT;
  const struct fake_layout* l = &fake_layouts[id - 1];
  if (cap < l->fields + 1) return L3V_INVALID_ARGUMENT;
  memcpy(offsets, l->offsets, l->fields * sizeof *offsets);
  *size = l->size;
  *fields = l->fields;
  if (id == FAKE_BAD_STRUCT) *size += FAKE_GROW, offsets[l->fields - 1] += FAKE_SHIFT;
#ifdef FAKE_TAIL
  offsets[l->fields] = l->size, *size += 8, *fields += 1;
#endif
  return L3V_OK;
}

l3v_status l3v_probe(int32_t device, l3v_capabilities* out, char* err, uint64_t cap) {
  if (FAKE_PROBE != L3V_OK || device != 0) {
    snprintf(err, cap, "no device %d", (int)device);
    return FAKE_PROBE != L3V_OK ? FAKE_PROBE : L3V_UNSUPPORTED;
  }
  if (out->struct_size != sizeof *out) return L3V_INVALID_ARGUMENT;
  out->flags = FAKE_FLAGS;
  out->weight_types = 1u << L3V_F32 | 1u << L3V_BF16;
  out->memory_total = INT64_MAX;
  out->max_head_dim = 256;
  out->cancel_latency_ms = 50;
  snprintf(out->name, sizeof out->name, "%s", fake_inner());
  snprintf(out->device, sizeof out->device, "a fake");
  return L3V_OK;
}

l3v_status l3v_context_create(const l3v_context_params* p, l3v_context** out, char* err, uint64_t cap) {
  if (p->struct_size != sizeof *p || p->device != 0) {
    snprintf(err, cap, "no device %d, %d threads", (int)p->device, (int)p->threads);
    return L3V_UNSUPPORTED;
  }
  *out = (l3v_context*)calloc(1, sizeof **out);
  (*out)->echo = strcmp(p->kernels, "echo") == 0;
  (*out)->fail_at = p->memory_limit;
  return L3V_OK;
}
l3v_status l3v_context_destroy(l3v_context* c) { return free(c), L3V_OK; }
uint64_t l3v_last_error(l3v_context* c, char* buf, uint64_t cap) {
  return (uint64_t)snprintf(buf, cap, "%s", c->text) + 1;
}

/* Counts the call and writes its arguments; in echo mode it also fails it. */
#define ENTER(...)                                                  \
  do {                                                              \
    c->entries++;                                                   \
    if (c->echo) {                                                  \
      snprintf(c->text, sizeof c->text, __VA_ARGS__);               \
      return L3V_INVALID_ARGUMENT;                                  \
    }                                                               \
  } while (0)
#define I(x) ((long long)(x))
#define U(x) ((unsigned long long)(x))

/* Bytes of a params struct in hexadecimal. */
static const char* dump(const void* p) {
  static __thread char hex[1024];
  uint32_t size;
  memcpy(&size, p, sizeof size);
  for (uint32_t i = 0; i < size && 2 * i + 2 < sizeof hex; i++)
    snprintf(hex + 2 * i, 3, "%02x", ((const unsigned char*)p)[i]);
  return hex;
}

static l3v_status make(l3v_context* c, uint64_t* out) {
  if (++c->made == c->fail_at) {
    snprintf(c->text, sizeof c->text, "allocation %lld fails", I(c->made));
    return L3V_OUT_OF_MEMORY;
  }
  c->alive++;
  *out = ++c->next_id;
  return L3V_OK;
}

/* The bytes are read, a collection gets its chance, and they are read again. */
static unsigned sum(const void* p, int64_t bytes) {
  unsigned s = 0;
  for (int64_t i = 0; i < bytes; i++) s = s * 31 + ((const unsigned char*)p)[i];
  return s;
}
static l3v_status steady(l3v_context* c, const void* src, int64_t bytes) {
  struct timespec pause = {0, 200000};
  unsigned before = sum(src, bytes);
  nanosleep(&pause, NULL);
  if (sum(src, bytes) == before) return L3V_OK;
  snprintf(c->text, sizeof c->text, "the bytes changed during the call");
  return L3V_INTERNAL;
}

#ifndef FAKE_MISSING
l3v_status l3v_cancel(l3v_context* c) { return c->cancelled = 1, L3V_OK; }
l3v_status l3v_linear(l3v_context* c, const l3v_linear_params* p) { ENTER("%s", dump(p)); return L3V_OK; }
l3v_status l3v_topk(l3v_context* c, const l3v_topk_params* p) { ENTER("%s", dump(p)); return L3V_OK; }
#endif
l3v_status l3v_synchronize(l3v_context* c) {
  ENTER("synchronize");
  int cancelled = c->cancelled;
  return c->cancelled = 0, cancelled ? L3V_CANCELLED : L3V_OK;
}
l3v_status l3v_counters_read(l3v_context* c, l3v_counters* out) {
  if (out->struct_size != sizeof *out) return L3V_INVALID_ARGUMENT;
  return out->entries = c->entries, out->objects = c->alive, L3V_OK;
}
l3v_status l3v_measure_peak(l3v_context* c, int32_t kind, int32_t dtype, int64_t bytes, double seconds,
                            double* per_second, double* per_cycle) {
  ENTER("%d %d %lld %g", (int)kind, (int)dtype, I(bytes), seconds);
  return *per_second = seconds * 4, *per_cycle = -0.25, L3V_OK;
}
l3v_status l3v_device_status_read(l3v_context* c, l3v_device_status* out) {
  (void)c;
  if (out->struct_size != sizeof *out) return L3V_INVALID_ARGUMENT;
  out->fault = L3V_FAULT_NOT_FINITE, out->op = L3V_STRUCT_CHECK_FINITE, out->stage = 7;
  return out->index = 1LL << 40, out->value = -3, L3V_OK;
}
l3v_status l3v_buffer_alloc(l3v_context* c, int64_t bytes, uint64_t* out) {
  ENTER("%lld", I(bytes));
  return make(c, out);
}
l3v_status l3v_buffer_write(l3v_context* c, uint64_t b, int64_t offset, const void* src, int64_t bytes) {
  ENTER("%llu %lld %x %lld", U(b), I(offset), sum(src, bytes), I(bytes));
  return steady(c, src, bytes);
}
l3v_status l3v_buffer_read(l3v_context* c, uint64_t b, int64_t offset, void* dst, int64_t bytes) {
  ENTER("%llu %lld %s %lld", U(b), I(offset), dst ? "dst" : "null", I(bytes));
  memset(dst, (int)offset, (size_t)bytes);
  return L3V_OK;
}
l3v_status l3v_buffer_copy(l3v_context* c, uint64_t d, int64_t doff, uint64_t s, int64_t soff, int64_t bytes) {
  ENTER("%llu %lld %llu %lld %lld", U(d), I(doff), U(s), I(soff), I(bytes));
  return L3V_OK;
}
l3v_status l3v_weight_plan(l3v_context* c, const l3v_weight_params* p, int64_t* bytes) {
  ENTER("%s", dump(p));
  return *bytes = p->rows * p->cols * 4, L3V_OK;
}
l3v_status l3v_weight_create(l3v_context* c, const l3v_weight_params* p, uint64_t* out) {
  ENTER("%s", dump(p));
  return make(c, out);
}
l3v_status l3v_weight_write_rows(l3v_context* c, uint64_t w, int64_t first, int64_t rows, const void* src, int64_t bytes) {
  ENTER("%llu %lld %lld %x %lld", U(w), I(first), I(rows), sum(src, bytes), I(bytes));
  return steady(c, src, bytes);
}
l3v_status l3v_weight_read_rows(l3v_context* c, uint64_t w, int64_t first, int64_t rows, void* dst, int64_t bytes) {
  ENTER("%llu %lld %lld %s %lld", U(w), I(first), I(rows), dst ? "dst" : "null", I(bytes));
  memset(dst, (int)first, (size_t)bytes);
  return L3V_OK;
}
l3v_status l3v_weight_read_packed(l3v_context* c, uint64_t w, int64_t offset, void* dst, int64_t bytes) {
  ENTER("%llu %lld %s %lld", U(w), I(offset), dst ? "dst" : "null", I(bytes));
  memset(dst, (int)offset, (size_t)bytes);
  return L3V_OK;
}
l3v_status l3v_weight_write_packed(l3v_context* c, uint64_t w, int64_t offset, const void* src, int64_t bytes) {
  ENTER("%llu %lld %x %lld", U(w), I(offset), sum(src, bytes), I(bytes));
  return steady(c, src, bytes);
}
l3v_status l3v_capture_begin(l3v_context* c) { ENTER("capture_begin"); return L3V_OK; }
l3v_status l3v_capture_end(l3v_context* c, const l3v_graph_params* p, uint64_t* out) {
  ENTER("%s", dump(p));
  return make(c, out);
}
l3v_status l3v_capture_abort(l3v_context* c) { ENTER("capture_abort"); return L3V_OK; }
l3v_status l3v_graph_replay(l3v_context* c, uint64_t g, int32_t steps, const void* in, int64_t in_bytes, void* out,
                            int64_t out_bytes, int32_t* done) {
  ENTER("%llu %d %x %lld %s %lld", U(g), (int)steps, sum(in, in_bytes), I(in_bytes), out ? "out" : "null", I(out_bytes));
  memset(out, (int)steps, (size_t)out_bytes);
  if (c->cancelled) return c->cancelled = 0, *done = steps - 1, L3V_CANCELLED;
  return *done = steps, L3V_OK;
}
l3v_status l3v_event_create(l3v_context* c, uint64_t* out) { ENTER("event_create"); return make(c, out); }
l3v_status l3v_event_record(l3v_context* c, uint64_t e) { ENTER("%llu", U(e)); return L3V_OK; }
l3v_status l3v_event_elapsed(l3v_context* c, uint64_t start, uint64_t end, double* seconds) {
  ENTER("%llu %llu", U(start), U(end));
  return *seconds = -1.5, L3V_OK;
}
#define FREE(what) \
  l3v_status l3v_##what##_free(l3v_context* c, uint64_t id) { ENTER("%llu", U(id)); return c->alive--, L3V_OK; }
FREE(buffer) FREE(weight) FREE(graph) FREE(event)

#define OP(name) \
  l3v_status l3v_##name(l3v_context* c, const l3v_##name##_params* p) { ENTER("%s", dump(p)); return L3V_OK; }
OP(embedding) OP(layer_norm) OP(rms_norm) OP(patch_embed) OP(attention) OP(cache_append) OP(paged_attention)
OP(rope) OP(swiglu) OP(activation) OP(copy_rows) OP(softmax) OP(check_finite)
OP(penalize) OP(sample) OP(log_prob)

l3v_status l3v_advance(l3v_context* c, const l3v_advance_params* p) {
  ENTER("%s", dump(p));
  snprintf(c->text, sizeof c->text, "told to return %d", (int)p->sequences);
  return (l3v_status)p->sequences;
}

#ifdef __cplusplus
}
#endif
