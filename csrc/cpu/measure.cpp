// measure.cpp: the parts of the peak measurement that need no vector instructions.
#include "measure.h"

#include <chrono>
#include <cstring>

namespace l3v::cpu {

double cycle_chain(int64_t steps) {
  // Exclusive or between registers: additions of a constant would be folded at rename by some cores.
  uint64_t x = static_cast<uint64_t>(steps), y = x * 0x9E3779B97F4A7C15u;
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < steps; i += 16) {
    for (int u = 0; u < 16; u++) {
      x ^= y;
      asm volatile("" : "+r"(x), "+r"(y));  // each step waits for the one before, none is folded
    }
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

uint64_t peak_read_scalar(const char* data, int64_t bytes) {
  uint64_t sum[8] = {};
  for (int64_t at = 0; at < bytes; at += 64) {
    uint64_t words[8];
    std::memcpy(words, data + at, sizeof words);
    for (int i = 0; i < 8; i++) sum[i] ^= words[i];
  }
  uint64_t all = 0;
  for (uint64_t s : sum) all ^= s;
  return all;
}

#if !defined(__x86_64__)
PeakCompute peak_f32_avx2() { return nullptr; }
PeakCompute peak_f32_avx512() { return nullptr; }
PeakCompute peak_bf16_avx512() { return nullptr; }
PeakCompute peak_i8_avx2() { return nullptr; }
PeakCompute peak_i8_avx512vnni() { return nullptr; }
#endif

}  // namespace l3v::cpu
