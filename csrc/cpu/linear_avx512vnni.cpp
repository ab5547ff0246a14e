// linear_avx512vnni.cpp: compute I8 on block types with vpdpbusd, which adds four products of an unsigned
// and a signed byte to a 32-bit lane, exactly: 64 multiply-adds an instruction, two a cycle on the
// processors that have it at full width (Sapphire Rapids, Zen 5). linear_i8.h has the rest.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "linear_avx512vnni.h"
#include "weight.h"

#include "target_avx512vnni.h"

#include "blocks_avx512.h"
#include "linear_i8.h"
#include "linear_kernels_avx512.h"

namespace l3v::cpu {
namespace {

struct Vnni : Avx512Kernels {
  using V = Rows16;
  static constexpr bool kSignedOnly = false;
  static constexpr int64_t kTileRows = 6, kBlockTiles = 24, kFewRows = 4, kAhead = 4096;
  static constexpr int kStrip = kVectors;

  template <bool kWide>
  static L3V_INLINE __m512i dot(__m512i sum, __m512i q, int32_t x) {
    return _mm512_dpbusd_epi32(sum, q, _mm512_set1_epi32(x));
  }
};

}  // namespace

void linear_avx512vnni(const LinearArgs& a, Worker& w) { linear_i8<Vnni>(a, w); }
Workspace linear_workspace_avx512vnni(const LinearArgs& a, int workers) {
  return linear_i8_workspace<Vnni>(a, workers);
}

}  // namespace l3v::cpu

#include "target_end.h"
#endif
