// measure.cpp: l3v_measure_peak.
#include "context.h"

using namespace l3v;

l3v_status l3v_measure_peak(l3v_context* ctx, int32_t kind, int32_t dtype, int64_t bytes,
                            double seconds, double* per_second, double* per_cycle) {
  return enter(ctx, "measure_peak", During::kNoCapture, [&]() -> Status {
    if (per_second == nullptr || per_cycle == nullptr)
      return fail(L3V_INVALID_ARGUMENT, "per_second or per_cycle is null");
    if (!(seconds >= 0.01 && seconds <= 10))
      return fail(L3V_INVALID_ARGUMENT, "seconds is %g, not from 0.01 to 10", seconds);
    if (kind == L3V_PEAK_COMPUTE) {
      if (bytes != 0) return fail(L3V_INVALID_ARGUMENT, "bytes is %lld, and 0 for the compute peak", static_cast<long long>(bytes));
      if (dtype < 0 || dtype > 63 || !(ctx->capabilities.compute_types >> dtype & 1))
        return fail(L3V_UNSUPPORTED, "products in element type %d", dtype);
    } else if (kind == L3V_PEAK_READ) {
      if (dtype != 0) return fail(L3V_INVALID_ARGUMENT, "dtype is %d, and 0 for the read peak", dtype);
      if (bytes < 1) return fail(L3V_INVALID_ARGUMENT, "bytes is %lld", static_cast<long long>(bytes));
    } else {
      return fail(L3V_INVALID_ARGUMENT, "kind is %d", kind);
    }
    ctx->device->drain();
    return ctx->device->measure_peak(kind, dtype, bytes, seconds, per_second, per_cycle);
  });
}
