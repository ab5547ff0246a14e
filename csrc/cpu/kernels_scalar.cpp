// kernels_scalar.cpp: the table of the scalar set, which runs anywhere.
#include "measure.h"
#include "ops.h"

namespace l3v::cpu {

const Kernels* scalar_kernels() {
  static const Kernels kernels = [] {
    Kernels k{};
    k.name = "scalar";
    k.linear = linear_scalar;
    k.embedding = embedding_scalar;
    k.layer_norm = layer_norm_scalar;
    k.rms_norm = rms_norm_scalar;
    k.patch_embed = patch_embed_scalar;
    k.attention = attention_scalar;
    k.cache_append = cache_append_scalar;
    k.paged_attention = paged_attention_scalar;
    k.rope = rope_scalar;
    k.swiglu = swiglu_scalar;
    k.activation = activation_scalar;
    k.copy_rows = copy_rows_scalar;
    k.softmax = softmax_scalar;
    k.topk = topk_scalar;
    k.advance = advance_scalar;
    k.check_finite = check_finite_scalar;
    k.penalize = penalize;
    k.sample = sample_scalar;
    k.log_prob = log_prob_scalar;
    k.linear_workspace = linear_workspace_scalar;
    k.patch_embed_workspace = patch_embed_workspace_scalar;
    k.attention_workspace = attention_workspace_scalar;
    k.paged_attention_workspace = paged_attention_workspace_scalar;
    k.topk_workspace = topk_workspace_scalar;
    k.sample_workspace = sample_workspace;
    k.peak_read = peak_read_scalar;
    return k;
  }();
  return &kernels;
}

}  // namespace l3v::cpu
