// graph.cpp: capture and replay.
#include <algorithm>

#include "context.h"
#include "layout.h"

namespace l3v {
namespace {

// The block [offset, offset + bytes) of a buffer that a graph exchanges with the host, or none.
Status block(l3v_context* ctx, const char* name, uint64_t buffer, int64_t offset, int64_t bytes,
             char** data) {
  if (buffer == 0) {
    if (bytes == 0) return {};
    return fail(L3V_INVALID_ARGUMENT, "%s_bytes is %lld without a buffer", name,
                static_cast<long long>(bytes));
  }
  BufferObject* b = nullptr;
  if (Status s = ctx->find(buffer, &b); !s.ok()) return s;
  if (bytes < 1 || offset < 0 || offset > b->bytes || bytes > b->bytes - offset)
    return fail(L3V_INVALID_ARGUMENT, "%s: %lld bytes from byte %lld on, of buffer #%lld with %lld bytes",
                name, static_cast<long long>(bytes), static_cast<long long>(offset),
                l3v_context::number(buffer), static_cast<long long>(b->bytes));
  ctx->use(b);
  *data = b->data + offset;
  return {};
}

Status end_capture(l3v_context* ctx, const l3v_graph_params* params, uint64_t* out) {
  if (ctx->capture_failure.code != L3V_OK)
    return fail(ctx->capture_failure.code, "an op of the capture failed: %s", ctx->capture_failure.text);
  if (out == nullptr) return fail(L3V_INVALID_ARGUMENT, "out is null");
  l3v_graph_params p;
  if (Status s = read_params(params, &p); !s.ok()) return s;
  auto graph = std::make_unique<GraphObject>();
  if (Status s = block(ctx, "in", p.in_buffer, p.in_offset, p.in_bytes, &graph->in); !s.ok()) return s;
  if (Status s = block(ctx, "out", p.out_buffer, p.out_offset, p.out_bytes, &graph->out); !s.ok())
    return s;
  graph->in_bytes = p.in_bytes;
  graph->out_bytes = p.out_bytes;

  std::vector<Object*> used = ctx->captured;
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  if (Status s = ctx->device->capture_end(&graph->graph); !s.ok()) return s;
  ctx->capturing = false;
  graph->held = std::move(used);
  for (Object* o : graph->held) o->holds++;
  *out = ctx->add(std::move(graph));
  ctx->captures++;
  return {};
}

Status replay(l3v_context* ctx, uint64_t id, int32_t steps, const void* in, int64_t in_bytes, void* out,
              int64_t out_bytes, int32_t* done) {
  GraphObject* g = nullptr;
  if (Status s = ctx->find(id, &g); !s.ok()) return s;
  if (steps < 1) return fail(L3V_INVALID_ARGUMENT, "steps is %d", steps);
  if (in_bytes != g->in_bytes || (in == nullptr && in_bytes > 0))
    return fail(L3V_INVALID_ARGUMENT, "in has %lld bytes%s, and graph #%lld takes %lld",
                static_cast<long long>(in_bytes), in == nullptr ? " at null" : "",
                l3v_context::number(id), static_cast<long long>(g->in_bytes));
  int64_t want;
  if (__builtin_mul_overflow(g->out_bytes, int64_t{steps}, &want) || out_bytes != want ||
      (out == nullptr && out_bytes > 0))
    return fail(L3V_INVALID_ARGUMENT, "out has %lld bytes%s, and %d steps of graph #%lld give %lld each",
                static_cast<long long>(out_bytes), out == nullptr ? " at null" : "", steps,
                l3v_context::number(id), static_cast<long long>(g->out_bytes));
  int32_t whole = 0;
  Status s = ctx->device->replay(g->graph.get(), steps, g->in, in, in_bytes, g->out, out, out_bytes,
                                 &whole);
  ctx->replays += whole;
  if (done != nullptr) *done = whole;
  return s;
}

}  // namespace
}  // namespace l3v

using namespace l3v;

l3v_status l3v_capture_begin(l3v_context* ctx) {
  return enter(ctx, "l3v_capture_begin", During::kNoCapture, [&]() -> Status {
    if ((ctx->capabilities.flags & L3V_CAP_CAPTURE) == 0)
      return fail(L3V_UNSUPPORTED, "this library cannot capture");
    ctx->device->capture_begin();
    ctx->capturing = true;
    return {};
  });
}

// The capture is over when this returns, whatever it returns.
l3v_status l3v_capture_end(l3v_context* ctx, const l3v_graph_params* p, uint64_t* out) {
  if (ctx != nullptr && !ctx->capturing)
    return enter(ctx, "l3v_capture_end", During::kAlways,
                 [] { return fail(L3V_INVALID_ARGUMENT, "no capture is open"); });
  const l3v_status status =
      enter(ctx, "l3v_capture_end", During::kAlways, [&] { return end_capture(ctx, p, out); });
  if (ctx == nullptr) return status;
  if (ctx->capturing) ctx->device->capture_abort();
  ctx->end_capture();
  return status;
}

l3v_status l3v_capture_abort(l3v_context* ctx) {
  return enter(ctx, "l3v_capture_abort", During::kAlways, [&]() -> Status {
    if (ctx->capturing) ctx->device->capture_abort();
    ctx->end_capture();
    return {};
  });
}

l3v_status l3v_graph_replay(l3v_context* ctx, uint64_t graph, int32_t steps, const void* in,
                            int64_t in_bytes, void* out, int64_t out_bytes, int32_t* done) {
  if (done != nullptr) *done = 0;
  return enter(ctx, "l3v_graph_replay", During::kNoCapture,
               [&] { return replay(ctx, graph, steps, in, in_bytes, out, out_bytes, done); });
}

l3v_status l3v_graph_free(l3v_context* ctx, uint64_t graph) {
  return enter(ctx, "l3v_graph_free", During::kNoCapture,
               [&] { return ctx->remove<GraphObject>(graph); });
}
