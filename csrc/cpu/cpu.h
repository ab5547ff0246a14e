// cpu.h: how an op runs on the CPU backend.
//
// The stream is a list of ops. Waiting walks the list: all workers of the context's pool go
// through it together, each does its share of an op, and a barrier ends the op. A captured graph
// is such a list kept. The calling thread is worker 0.
//
// Each op has one function per kernel set (scalar, avx2, avx512, neon) with the signature
//   void <op>_<set>(const <Op>Args& a, Worker& w)
// called once on every worker. It splits its work by claim() or by worker index, and never so that
// an element's arithmetic depends on the split: results are the same bits for any worker count.
#ifndef L3V_CPU_CPU_H
#define L3V_CPU_CPU_H

#include "../common/backend.h"

namespace l3v::cpu {

class Pool;

// One worker's view of the op that runs.
struct Worker {
  int index = 0, count = 1;
  char* scratch = nullptr;  // this worker's own memory, Workspace.per_worker bytes, 64-byte aligned
  char* shared = nullptr;   // memory that all workers of the op see, Workspace.shared bytes
  Pool* pool = nullptr;

  // Hands out 0..total-1, each once over all workers; -1 when none is left. The count starts anew
  // behind every barrier and op. From a cancel on it gives -1 to all: what an op left undone is
  // claimed by no later phase of it either, and whatever a phase does without a claim must bear
  // shared memory that is not finished.
  int64_t claim(int64_t total);
  // Waits for all workers of the op. Each must reach it.
  void barrier();
  // Notes a fault of the running op (L3V_FAULT_...). The first by (row) index wins, so that the
  // report does not depend on the split.
  void fault(int32_t kind, int64_t index, int64_t value, int32_t stage = 0);
};

// Memory an op wants while it runs; asked for when it is queued.
struct Workspace {
  int64_t per_worker = 0, shared = 0;
};

// A kernel set: one entry per op. An entry of a SIMD set may be the scalar function.
struct Kernels {
  const char* name;  // "scalar", "avx2", "avx512", "neon"
  void (*linear)(const LinearArgs&, Worker&);
  void (*embedding)(const EmbeddingArgs&, Worker&);
  void (*layer_norm)(const LayerNormArgs&, Worker&);
  void (*rms_norm)(const RmsNormArgs&, Worker&);
  void (*patch_embed)(const PatchEmbedArgs&, Worker&);
  void (*attention)(const AttentionArgs&, Worker&);
  void (*cache_append)(const CacheAppendArgs&, Worker&);
  void (*paged_attention)(const PagedAttentionArgs&, Worker&);
  void (*rope)(const RopeArgs&, Worker&);
  void (*swiglu)(const SwigluArgs&, Worker&);
  void (*activation)(const ActivationArgs&, Worker&);
  void (*copy_rows)(const CopyRowsArgs&, Worker&);
  void (*softmax)(const SoftmaxArgs&, Worker&);
  void (*topk)(const TopkArgs&, Worker&);
  void (*advance)(const AdvanceArgs&, Worker&);
  void (*check_finite)(const CheckFiniteArgs&, Worker&);
  void (*penalize)(const PenalizeArgs&, Worker&);
  void (*sample)(const SampleArgs&, Worker&);
  void (*log_prob)(const LogProbArgs&, Worker&);
  // Workspaces, for the kernels of this set.
  Workspace (*linear_workspace)(const LinearArgs&, int workers);
  Workspace (*patch_embed_workspace)(const PatchEmbedArgs&, int workers);
  Workspace (*attention_workspace)(const AttentionArgs&, int workers);
  Workspace (*paged_attention_workspace)(const PagedAttentionArgs&, int workers);
  Workspace (*topk_workspace)(const TopkArgs&, int workers);
  Workspace (*sample_workspace)(const SampleArgs&, int workers);
  // Peak loops (measure.h); null where the set has none, as the scalar one has no vector to fill.
  int64_t (*peak_f32)(int64_t rounds);
  int64_t (*peak_bf16)(int64_t rounds);
  int64_t (*peak_i8)(int64_t rounds);
  uint64_t (*peak_read)(const char* data, int64_t bytes);
};

// The sets this library was compiled with, or null where the target has none.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();    // AVX2, FMA, F16C
const Kernels* avx512_kernels();  // AVX-512 F, BW, DQ, VL; BF16 and VNNI where the processor has them
const Kernels* neon_kernels();

// What this processor can run, best first, by CPUID and XGETBV (or the architecture).
struct Processor {
  char name[96];
  int cores;
  bool avx2, avx512, avx512_bf16, avx512_vnni, neon;
};
const Processor& processor();

// Weights in the layout that every kernel set shares; see weight.h.
Status weight_plan(int32_t dtype, int64_t rows, int64_t cols, int64_t* bytes);
Status weight_create(int32_t dtype, int64_t rows, int64_t cols, Ledger* ledger,
                     std::unique_ptr<Weight>* out);
void weight_write(Weight* w, int64_t first, int64_t rows, const void* src);
void weight_read(const Weight* w, int64_t first, int64_t rows, void* dst);

}  // namespace l3v::cpu
#endif
