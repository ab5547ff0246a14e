// ops.h: every kernel function of the CPU backend, one line an op and set. The tables in
// kernels_<set>.cpp gather them.
//
// The scalar forms are the reference. linear and patch_embed have files of their own per
// instruction set; the other vector forms are templates over a vector type (<op>_simd.h), which
// the tables instantiate. embedding is one function for all sets: it is a copy.
#ifndef L3V_CPU_OPS_H
#define L3V_CPU_OPS_H

#include "cpu.h"

namespace l3v::cpu {

void linear_scalar(const LinearArgs& a, Worker& w);
void embedding_scalar(const EmbeddingArgs& a, Worker& w);
void layer_norm_scalar(const LayerNormArgs& a, Worker& w);
void rms_norm_scalar(const RmsNormArgs& a, Worker& w);
void patch_embed_scalar(const PatchEmbedArgs& a, Worker& w);
void attention_scalar(const AttentionArgs& a, Worker& w);
void cache_append_scalar(const CacheAppendArgs& a, Worker& w);
void paged_attention_scalar(const PagedAttentionArgs& a, Worker& w);
void rope_scalar(const RopeArgs& a, Worker& w);
void swiglu_scalar(const SwigluArgs& a, Worker& w);
void activation_scalar(const ActivationArgs& a, Worker& w);
void copy_rows_scalar(const CopyRowsArgs& a, Worker& w);
void softmax_scalar(const SoftmaxArgs& a, Worker& w);
void topk_scalar(const TopkArgs& a, Worker& w);
void advance_scalar(const AdvanceArgs& a, Worker& w);
void check_finite_scalar(const CheckFiniteArgs& a, Worker& w);
void penalize(const PenalizeArgs& a, Worker& w);  // of all sets: it skips nearly all there is
void sample_scalar(const SampleArgs& a, Worker& w);
void log_prob_scalar(const LogProbArgs& a, Worker& w);

Workspace linear_workspace_scalar(const LinearArgs& a, int workers);
Workspace patch_embed_workspace_scalar(const PatchEmbedArgs& a, int workers);
Workspace attention_workspace_scalar(const AttentionArgs& a, int workers);
Workspace paged_attention_workspace_scalar(const PagedAttentionArgs& a, int workers);
Workspace topk_workspace_scalar(const TopkArgs& a, int workers);
Workspace sample_workspace(const SampleArgs& a, int workers);  // of all sets

#if defined(__x86_64__)
void linear_avx2(const LinearArgs& a, Worker& w);
void linear_avx512(const LinearArgs& a, Worker& w);
Workspace linear_workspace_avx2(const LinearArgs& a, int workers);
Workspace linear_workspace_avx512(const LinearArgs& a, int workers);
void patch_embed_avx2(const PatchEmbedArgs& a, Worker& w);
void patch_embed_avx512(const PatchEmbedArgs& a, Worker& w);
Workspace patch_embed_workspace_avx2(const PatchEmbedArgs& a, int workers);
Workspace patch_embed_workspace_avx512(const PatchEmbedArgs& a, int workers);
#endif

#if defined(__aarch64__)
void linear_neon(const LinearArgs& a, Worker& w);
Workspace linear_workspace_neon(const LinearArgs& a, int workers);
void patch_embed_neon(const PatchEmbedArgs& a, Worker& w);
Workspace patch_embed_workspace_neon(const PatchEmbedArgs& a, int workers);
#endif

// The most that topk takes: each worker keeps its candidates on the stack.
constexpr int32_t kMaxTopk = 256;
// The widest head that attention and rope take.
constexpr int32_t kMaxHeadDim = 256;

}  // namespace l3v::cpu
#endif
