// status.cpp: statuses with text, and the ledger of a context's memory.
#include <cstdarg>
#include <cstdio>

#include "backend.h"

namespace l3v {

Status fail(l3v_status code, const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return {code, text};
}

Status Ledger::take(int64_t want, const char* what) {
  if (want < 0 || want > INT64_MAX - bytes)
    return fail(L3V_OUT_OF_MEMORY, "%s: needs more bytes than 64 bits can count", what);
  if (limit_ > 0 && bytes + want > limit_)
    return fail(L3V_OUT_OF_MEMORY,
                "%s: needs %lld bytes, and %lld of the context's limit of %lld are available", what,
                static_cast<long long>(want), static_cast<long long>(limit_ - bytes),
                static_cast<long long>(limit_));
  bytes += want;
  if (bytes > bytes_peak) bytes_peak = bytes;
  allocations++;
  return {};
}

void Ledger::give(int64_t back) { bytes -= back; }

}  // namespace l3v
