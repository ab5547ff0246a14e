// event.cpp: time stamps on the stream.
#include "context.h"

using namespace l3v;

l3v_status l3v_event_create(l3v_context* ctx, uint64_t* out) {
  return enter(ctx, "l3v_event_create", During::kNoCapture, [&]() -> Status {
    if (out == nullptr) return fail(L3V_INVALID_ARGUMENT, "out is null");
    auto object = std::make_unique<EventObject>();
    if (Status s = ctx->device->event_create(&object->event); !s.ok()) return s;
    *out = ctx->add(std::move(object));
    return {};
  });
}

l3v_status l3v_event_record(l3v_context* ctx, uint64_t event) {
  return enter(ctx, "l3v_event_record", During::kNoCapture, [&]() -> Status {
    EventObject* e = nullptr;
    if (Status s = ctx->find(event, &e); !s.ok()) return s;
    return ctx->device->event_record(e->event.get());
  });
}

l3v_status l3v_event_elapsed(l3v_context* ctx, uint64_t start, uint64_t end, double* seconds) {
  return enter(ctx, "l3v_event_elapsed", During::kNoCapture, [&]() -> Status {
    if (seconds == nullptr) return fail(L3V_INVALID_ARGUMENT, "seconds is null");
    EventObject *from = nullptr, *to = nullptr;
    if (Status s = ctx->find(start, &from); !s.ok()) return s;
    if (Status s = ctx->find(end, &to); !s.ok()) return s;
    if (Status s = ctx->device->synchronize(); !s.ok()) return s;
    for (const EventObject* e : {from, to})
      if (!e->event->recorded)
        return fail(L3V_INVALID_ARGUMENT, "event #%lld was never recorded",
                    l3v_context::number(e == from ? start : end));
    return ctx->device->event_elapsed(from->event.get(), to->event.get(), seconds);
  });
}

l3v_status l3v_event_free(l3v_context* ctx, uint64_t event) {
  return enter(ctx, "l3v_event_free", During::kNoCapture,
               [&] { return ctx->remove<EventObject>(event); });
}
