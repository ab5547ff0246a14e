// linear_avx512.cpp: linear with AVX-512, tiles of 6 rows by 64 outputs: 24 vectors of sums, 4 of
// weights, one of x spread over its lanes. Per k that is 24 fma (12 cycles on two ports) for 10
// loads, so the ports and not the loads bound it. linear.cpp has the order of the sums.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

#include "linear_avx512bf16.h"
#include "linear_avx512vnni.h"
#include "ops.h"
#include "weight.h"

#include "target_avx512.h"

#include "linear_kernels_avx512.h"
#include "linear_tiles.h"

namespace l3v::cpu {
namespace {

struct Avx512 : Avx512Kernels {
  static constexpr bool kPairProducts = false;
  static void round_pairs(const float*, int64_t, int64_t, int64_t, uint16_t*, int64_t) {}
  static void tile_pairs(int64_t, const uint16_t*, int64_t, const char*, int64_t, float*, bool,
                         const Ahead&) {}
};

// Whether bf16 dot products are the faster way to compute BF16 here. AMD's run at twice the rate
// of float fma (Zen 4 and 5). Intel's run at half of it (measured on Sapphire Rapids: 87 against
// 177 GFLOP/s a core), so there x is rounded and the float kernels do the rest.
bool has_fast_pairs() {
  static const bool fast = processor().avx512_bf16 && __builtin_cpu_is("amd");
  return fast;
}

}  // namespace

// Compute I8 needs the dot product of bytes; the first processors with AVX-512 lack it.
void linear_avx512(const LinearArgs& a, Worker& w) {
  if (a.compute == L3V_I8) return processor().avx512_vnni ? linear_avx512vnni(a, w) : linear_avx2(a, w);
  if (a.compute == L3V_BF16 && has_fast_pairs()) return linear_avx512bf16(a, w);
  linear_tiles<Avx512>(a, w);
}

Workspace linear_workspace_avx512(const LinearArgs& a, int workers) {
  if (a.compute == L3V_I8)
    return processor().avx512_vnni ? linear_workspace_avx512vnni(a, workers)
                                   : linear_workspace_avx2(a, workers);
  if (a.compute == L3V_BF16 && has_fast_pairs()) return linear_workspace_avx512bf16(a, workers);
  return linear_tiles_workspace<Avx512>(a, workers);
}

}  // namespace l3v::cpu

#include "target_end.h"
#endif
