// backend.h: what a backend is. csrc/common implements every exported function (checks, ids,
// captures, counters) and calls this interface with resolved arguments: addresses that are
// inside their buffers, counts that fit, types the backend listed. A backend never checks again.
#ifndef L3V_COMMON_BACKEND_H
#define L3V_COMMON_BACKEND_H

#include <cstdint>
#include <memory>
#include <string>

#include "both.h"
#include "llama3v.h"

namespace l3v {

// A status with its text. Passed by value; ok() is the common case and holds no text.
struct Status {
  l3v_status code = L3V_OK;
  std::string text;
  bool ok() const { return code == L3V_OK; }
};
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
Status fail(l3v_status code, const char* format, ...);

// A resolved view: element (row, col) at data + (row * stride + col) * size of dtype.
// data is null where the op allows "none" and the caller gave it.
struct Matrix {
  char* data = nullptr;
  int64_t stride = 0;  // elements
  int32_t dtype = 0;
  L3V_BOTH explicit operator bool() const { return data != nullptr; }
  L3V_BOTH float* f32(int64_t row = 0) const { return reinterpret_cast<float*>(data) + row * stride; }
  L3V_BOTH int32_t* i32(int64_t row = 0) const { return reinterpret_cast<int32_t*>(data) + row * stride; }
  L3V_BOTH uint8_t* u8(int64_t row = 0) const { return reinterpret_cast<uint8_t*>(data) + row * stride; }
};

// A packed matrix [rows, cols]; a backend derives from it to keep its layout.
struct Weight {
  virtual ~Weight() = default;
  int32_t dtype = 0;
  int64_t rows = 0, cols = 0;
};

// Resolved arguments, one struct an op; fields as in the params struct of the same name.
struct LinearArgs {
  const Weight* weight;
  Matrix x, bias, residual, out;
  int64_t rows;
  int32_t activation, compute;
};
struct EmbeddingArgs {
  const Weight* weight;
  Matrix ids, out;
  int64_t rows;
};
struct LayerNormArgs {
  Matrix x, weight, bias, out;
  int64_t rows, cols;
  float eps;
};
struct RmsNormArgs {
  Matrix x, weight, out;
  int64_t rows, cols;
  float eps;
};
struct PatchEmbedArgs {
  const Weight* weight;
  Matrix pixels, bias, position, out;
  int64_t images, channels, height, width, patch;
  int32_t compute;
};
struct AttentionArgs {
  Matrix q, k, v, out, q_offsets, k_offsets, key_mask;
  int64_t q_rows, k_rows, sequences;
  int32_t heads, kv_heads, head_dim;
  float scale;
};
struct CacheAppendArgs {
  Matrix k, v, k_cache, v_cache, page_table, lengths, q_offsets;
  int64_t rows, sequences, pages, max_pages, cols;
  int32_t page_size;
};
struct PagedAttentionArgs {
  Matrix q, out, k_cache, v_cache, page_table, lengths, q_offsets;
  int64_t rows, sequences, pages, max_pages;
  int32_t page_size, heads, kv_heads, head_dim;
  float scale;
};
struct RopeArgs {
  Matrix x, positions, frequencies;
  int64_t rows;
  int32_t heads, head_dim;
};
struct SwigluArgs {
  Matrix gate, up, out;
  int64_t rows, cols;
};
struct ActivationArgs {
  Matrix x, out;
  int64_t rows, cols;
  int32_t activation;
};
struct CopyRowsArgs {
  Matrix x, out, x_index, out_index;
  int64_t rows, cols, x_rows, out_rows;
};
struct SoftmaxArgs {
  Matrix x, out;
  int64_t rows, cols;
  float scale;
};
struct TopkArgs {
  Matrix x, ids, values;
  int64_t rows, cols;
  int32_t k;
};
struct AdvanceArgs {
  Matrix next, ids, positions, lengths;
  int64_t sequences;
};
struct CheckFiniteArgs {
  Matrix x;
  int64_t rows, cols;
  int32_t stage;
};
struct PenalizeArgs {
  Matrix x, counts, prompt, settings;
  int64_t rows, cols;
};
struct SampleArgs {
  Matrix x, settings, positions, ids, counts;
  int64_t rows, cols;
};
struct LogProbArgs {
  Matrix x, ids, out;
  int64_t rows, cols;
  int32_t k;
};

// Every byte a context allocates passes here: the limit, the counters, the out-of-memory text.
// One context, one thread at a time, as everything but cancel.
class Ledger {
 public:
  explicit Ledger(int64_t limit) : limit_(limit) {}
  Status take(int64_t bytes, const char* what);  // L3V_OUT_OF_MEMORY names needed and left
  void give(int64_t bytes);
  int64_t allocations = 0, bytes = 0, bytes_peak = 0, workspace = 0;

 private:
  int64_t limit_;
};

// A captured list of ops, in the backend's own form.
struct Graph {
  virtual ~Graph() = default;
};
// A time stamp on the device's clock.
struct Event {
  virtual ~Event() = default;
  bool recorded = false;
};

// A context's device: memory, stream, replay, and one function per op. Ops and copies queue in
// order, or are recorded while a capture is open; a failure they return at once (no memory for a
// workspace) queues nothing.
class Device {
 public:
  virtual ~Device() = default;

  virtual Status alloc(int64_t bytes, char** out) = 0;  // zeros, 64-byte aligned
  virtual void free(char* data, int64_t bytes) = 0;     // the stream is drained
  virtual Status write(char* dst, const void* src, int64_t bytes) = 0;
  virtual Status copy(char* dst, const char* src, int64_t bytes) = 0;
  virtual Status read(void* dst, const char* src, int64_t bytes) = 0;  // waits
  // Runs what is queued and waits, keeping its outcome for the next synchronize.
  virtual void drain() = 0;
  // Waits; returns and clears the outcome of everything since the last one.
  virtual Status synchronize() = 0;
  virtual void cancel() = 0;  // any thread
  virtual l3v_device_status device_status() const = 0;
  virtual int64_t ops_run() const = 0;

  virtual Status weight_plan(int32_t dtype, int64_t rows, int64_t cols, int64_t* bytes) = 0;
  virtual Status weight_create(int32_t dtype, int64_t rows, int64_t cols,
                               std::unique_ptr<Weight>* out) = 0;
  virtual Status weight_write(Weight* w, int64_t first, int64_t rows, const void* src) = 0;
  virtual Status weight_read(const Weight* w, int64_t first, int64_t rows, void* dst) = 0;
  // Bytes of the packed form, of which weight_plan says how many there are.
  virtual Status weight_write_packed(Weight* w, int64_t offset, int64_t bytes, const void* src) = 0;
  virtual Status weight_read_packed(const Weight* w, int64_t offset, int64_t bytes, void* dst) = 0;

  virtual void capture_begin() = 0;
  virtual Status capture_end(std::unique_ptr<Graph>* out) = 0;
  virtual void capture_abort() = 0;
  // in and out as in l3v_graph_replay, resolved; either may be null with 0 bytes.
  virtual Status replay(Graph* graph, int32_t steps, char* in, const void* host_in, int64_t in_bytes,
                        const char* out, void* host_out, int64_t out_bytes, int32_t* done) = 0;

  // See l3v_measure_peak. A device whose peaks nobody measures yet leaves it.
  virtual Status measure_peak(int32_t kind, int32_t dtype, int64_t bytes, double seconds,
                              double* per_second, double* per_cycle) {
    (void)kind, (void)dtype, (void)bytes, (void)seconds, (void)per_second, (void)per_cycle;
    return fail(L3V_UNSUPPORTED, "this backend measures no peaks");
  }

  virtual Status event_create(std::unique_ptr<Event>* out) = 0;
  virtual Status event_record(Event* event) = 0;
  virtual Status event_elapsed(Event* start, Event* end, double* seconds) = 0;

  virtual Status linear(const LinearArgs& a) = 0;
  virtual Status embedding(const EmbeddingArgs& a) = 0;
  virtual Status layer_norm(const LayerNormArgs& a) = 0;
  virtual Status rms_norm(const RmsNormArgs& a) = 0;
  virtual Status patch_embed(const PatchEmbedArgs& a) = 0;
  virtual Status attention(const AttentionArgs& a) = 0;
  virtual Status cache_append(const CacheAppendArgs& a) = 0;
  virtual Status paged_attention(const PagedAttentionArgs& a) = 0;
  virtual Status rope(const RopeArgs& a) = 0;
  virtual Status swiglu(const SwigluArgs& a) = 0;
  virtual Status activation(const ActivationArgs& a) = 0;
  virtual Status copy_rows(const CopyRowsArgs& a) = 0;
  virtual Status softmax(const SoftmaxArgs& a) = 0;
  virtual Status topk(const TopkArgs& a) = 0;
  virtual Status advance(const AdvanceArgs& a) = 0;
  virtual Status check_finite(const CheckFiniteArgs& a) = 0;
  virtual Status penalize(const PenalizeArgs& a) = 0;
  virtual Status sample(const SampleArgs& a) = 0;
  virtual Status log_prob(const LogProbArgs& a) = 0;
};

// What each backend library defines, once.
Status backend_probe(int32_t device, l3v_capabilities* out);
Status backend_create(const l3v_context_params& p, Ledger* ledger, std::unique_ptr<Device>* out);

}  // namespace l3v
#endif
