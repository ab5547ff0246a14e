// kernels_avx512.cpp: the AVX-512 set. It starts from the scalar table: what is not named here is a
// copy or a few integers, and has no vector form.
#include "measure.h"
#include "ops.h"

#if defined(__x86_64__)
#include <cfloat>
#include <cmath>
#include <limits>

#include <immintrin.h>

#include "attention.h"
#include "rope.h"
#include "sample.h"
#include "split.h"
#include "topk.h"
#include "target_avx512.h"

#include "simd_avx512.h"

#include "attention_simd.h"
#include "elementwise_simd.h"
#include "layer_norm_simd.h"
#include "rms_norm_simd.h"
#include "softmax_simd.h"
#include "topk_simd.h"
#include "sample_simd.h"

namespace l3v::cpu {

static Kernels table() {
  using V = F512;
  Kernels k = *scalar_kernels();
  k.name = "avx512";
  k.linear = linear_avx512;
  k.layer_norm = layer_norm_simd<V>;
  k.rms_norm = rms_norm_simd<V>;
  k.patch_embed = patch_embed_avx512;
  k.attention = attention_simd<V>;
  k.paged_attention = paged_attention_simd<V>;
  k.rope = rope_simd<V>;
  k.swiglu = swiglu_simd<V>;
  k.activation = activation_simd<V>;
  k.softmax = softmax_simd<V>;
  k.topk = topk_simd<V>;
  k.check_finite = check_finite_simd<V>;
  k.sample = sample_simd<V>;
  k.log_prob = log_prob_simd<V>;
  k.linear_workspace = linear_workspace_avx512;
  k.patch_embed_workspace = patch_embed_workspace_avx512;
  k.attention_workspace = attention_workspace_simd<V>;
  k.paged_attention_workspace = paged_attention_workspace_simd<V>;
  k.topk_workspace = topk_workspace_simd;
  k.peak_f32 = peak_f32_avx512();
  k.peak_bf16 = processor().avx512_bf16 ? peak_bf16_avx512() : nullptr;
  k.peak_i8 = processor().avx512_vnni ? peak_i8_avx512vnni() : peak_i8_avx2();
  k.peak_read = peak_read_avx512;
  return k;
}

}  // namespace l3v::cpu

#include "target_end.h"
#endif

namespace l3v::cpu {

const Kernels* avx512_kernels() {
#if defined(__x86_64__)
  static const Kernels kernels = table();
  return &kernels;
#else
  return nullptr;
#endif
}

}  // namespace l3v::cpu
