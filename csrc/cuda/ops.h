// ops.h: every op's launcher, one line each; their files have the kernels.
#ifndef L3V_CUDA_OPS_H
#define L3V_CUDA_OPS_H

#include "../common/backend.h"

namespace l3v::cuda {

struct Card;
struct Queue;

void linear_cuda(const LinearArgs& a, const Queue& q);
void embedding_cuda(const EmbeddingArgs& a, const Queue& q);
void layer_norm_cuda(const LayerNormArgs& a, const Queue& q);
void rms_norm_cuda(const RmsNormArgs& a, const Queue& q);
void patch_embed_cuda(const PatchEmbedArgs& a, const Queue& q);
void attention_cuda(const AttentionArgs& a, const Queue& q);
void cache_append_cuda(const CacheAppendArgs& a, const Queue& q);
void paged_attention_cuda(const PagedAttentionArgs& a, const Queue& q);
int64_t linear_scratch(const LinearArgs& a, const Card& card);
int64_t patch_embed_scratch(const PatchEmbedArgs& a, const Card& card);
int64_t paged_attention_scratch(const PagedAttentionArgs& a, const Card& card);
void rope_cuda(const RopeArgs& a, const Queue& q);
// Both at once where the keys that the append stores are columns that the rope turned; faults of the
// rope first.
bool rope_append_fits(const RopeArgs& r, const CacheAppendArgs& a);
void rope_append_cuda(const RopeArgs& r, const CacheAppendArgs& a, const Queue& q);
void swiglu_cuda(const SwigluArgs& a, const Queue& q);
void activation_cuda(const ActivationArgs& a, const Queue& q);
void copy_rows_cuda(const CopyRowsArgs& a, const Queue& q);
void softmax_cuda(const SoftmaxArgs& a, const Queue& q);
void topk_cuda(const TopkArgs& a, const Queue& q);
void advance_cuda(const AdvanceArgs& a, const Queue& q);
void check_finite_cuda(const CheckFiniteArgs& a, const Queue& q);
void penalize_cuda(const PenalizeArgs& a, const Queue& q);
void sample_cuda(const SampleArgs& a, const Queue& q);
void log_prob_cuda(const LogProbArgs& a, const Queue& q);

// The loops of l3v_measure_peak: so many rounds. They return the operations, or bytes read, of all of it.
// bytes is at least 16; sink is 4 bytes that nothing is written to.
double peak_products_cuda(int32_t dtype, int64_t rounds, char* sink, const Queue& q);
double peak_read_cuda(const char* data, int64_t bytes, int64_t rounds, char* sink, const Queue& q);

constexpr int32_t kMaxHeadDim = 256;
constexpr int32_t kMaxTopk = 256;

}  // namespace l3v::cuda
#endif
