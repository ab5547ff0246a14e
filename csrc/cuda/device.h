// device.h: the CUDA backend's device: memory, one stream, capture and replay.
//
// Ops queue on the host and go to the stream in chunks, of which at most two are under way, so that
// l3v_cancel takes effect within two chunks. A captured list becomes one CUDA graph a chunk.
//
// A fault on the device is a word of memory that the op's kernel lowers (launch.cuh). Each op that
// can find one has its words, one a kind, in a window that is read and cleared with each wait.
//
// A replay puts all its steps on the stream before it waits: each brings its words and its out block
// to pinned memory of its own, and behind the one wait the first step that found a fault is the last
// that counts. Steps behind it ran on what it left; their kernels check all they read, as ever.
#ifndef L3V_CUDA_DEVICE_H
#define L3V_CUDA_DEVICE_H

#include <cuda_runtime.h>

#include <atomic>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <vector>

#include "memory.h"
#include "queue.h"

namespace l3v::cuda {

struct Item {
  std::function<void(const Queue&)> run;
  int32_t op = 0, stage = 0;
  std::vector<int32_t> kinds;     // of the faults it can find, a word each
  std::optional<RopeArgs> rope;   // of a rope, for the append that may follow
};

// Fault words in device memory.
class FaultWindow {
 public:
  ~FaultWindow() { release(); }
  Status create(size_t words, Pool* pool);
  void release();
  int64_t bytes() const { return static_cast<int64_t>(words_ * sizeof *device_); }
  unsigned long long* device(size_t word) const { return device_ + word; }
  cudaError_t clear(cudaStream_t stream);                  // queued
  cudaError_t fetch(char* pinned, cudaStream_t stream);    // queued

 private:
  unsigned long long* device_ = nullptr;
  size_t words_ = 0;
  Pool* pool_ = nullptr;
};

// The fault of the first item that found one, in its window's words: of its kinds the lowest index,
// then value, then kind.
l3v_device_status found_in(const std::vector<Item>& items, const char* words);

// The ops' scratch memory. A graph keeps the block that it was captured with, as its kernels know the
// address.
class ScratchBlock {
 public:
  ~ScratchBlock();
  static Status create(int64_t bytes, Pool* pool, Ledger* ledger, std::shared_ptr<ScratchBlock>* out);
  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  int64_t bytes_ = 0;
  Pool* pool_ = nullptr;
  Ledger* ledger_ = nullptr;
};

struct CudaGraph;

class CudaDevice final : public Device {
 public:
  CudaDevice(int device, const Card& card, Ledger* ledger) : device_(device), card_(card), ledger_(ledger) {}
  ~CudaDevice() override;
  Status open();

  Status alloc(int64_t bytes, char** out) override;
  void free(char* data, int64_t bytes) override;
  Status write(char* dst, const void* src, int64_t bytes) override;
  Status copy(char* dst, const char* src, int64_t bytes) override;
  Status read(void* dst, const char* src, int64_t bytes) override;
  void drain() override;
  Status synchronize() override;
  void cancel() override { cancelled_.store(true, std::memory_order_relaxed); }
  l3v_device_status device_status() const override { return reported_; }
  int64_t ops_run() const override { return ops_run_; }

  Status weight_plan(int32_t dtype, int64_t rows, int64_t cols, int64_t* bytes) override;
  Status weight_create(int32_t dtype, int64_t rows, int64_t cols, std::unique_ptr<Weight>* out) override;
  Status weight_write(Weight* w, int64_t first, int64_t rows, const void* src) override;
  Status weight_read(const Weight* w, int64_t first, int64_t rows, void* dst) override;
  Status weight_write_packed(Weight* w, int64_t offset, int64_t bytes, const void* src) override;
  Status weight_read_packed(const Weight* w, int64_t offset, int64_t bytes, void* dst) override;

  void capture_begin() override { capturing_ = true; }
  Status capture_end(std::unique_ptr<Graph>* out) override;
  void capture_abort() override;
  Status replay(Graph* graph, int32_t steps, char* in, const void* host_in, int64_t in_bytes, const char* out,
                void* host_out, int64_t out_bytes, int32_t* done) override;

  Status measure_peak(int32_t kind, int32_t dtype, int64_t bytes, double seconds, double* per_second,
                      double* per_cycle) override;
  Status event_create(std::unique_ptr<Event>* out) override;
  Status event_record(Event* event) override;
  Status event_elapsed(Event* start, Event* end, double* seconds) override;

  Status linear(const LinearArgs& a) override;
  Status embedding(const EmbeddingArgs& a) override;
  Status layer_norm(const LayerNormArgs& a) override;
  Status rms_norm(const RmsNormArgs& a) override;
  Status patch_embed(const PatchEmbedArgs& a) override;
  Status attention(const AttentionArgs& a) override;
  Status cache_append(const CacheAppendArgs& a) override;
  Status paged_attention(const PagedAttentionArgs& a) override;
  Status rope(const RopeArgs& a) override;
  Status swiglu(const SwigluArgs& a) override;
  Status activation(const ActivationArgs& a) override;
  Status copy_rows(const CopyRowsArgs& a) override;
  Status softmax(const SoftmaxArgs& a) override;
  Status topk(const TopkArgs& a) override;
  Status advance(const AdvanceArgs& a) override;
  Status check_finite(const CheckFiniteArgs& a) override;
  Status penalize(const PenalizeArgs& a) override;
  Status sample(const SampleArgs& a) override;
  Status log_prob(const LogProbArgs& a) override;

 private:
  template <class Args>
  Status queue(int32_t op, void (*launcher)(const Args&, const Queue&), const Args& a,
               std::initializer_list<int32_t> kinds = {}, int64_t scratch = 0, int32_t stage = 0);
  // Has at least so many bytes for the ops that are queued from now on.
  Status grow_scratch(int64_t bytes);
  Status put(Item item);
  // The list that put puts on, with room for an item that can find so many kinds of faults.
  std::vector<Item>& list(size_t kinds);
  // Puts items [begin, end) on the stream; word is that of the first one's faults, and moves on.
  Status launch(const std::vector<Item>& items, size_t begin, size_t end, const FaultWindow& window, size_t* word);
  // Waits for the chunk before the last one that was launched, and marks this one.
  Status pace();
  Status run_queued();
  // Puts one run of a graph on the stream; paced: with pace() behind each chunk. *whole: l3v_cancel did
  // not come in between.
  Status launch_graph(const CudaGraph& g, bool paced, bool* whole);
  // Copies to the host and waits.
  Status fetch(char* dst, const char* src, int64_t bytes);
  // What a wait returns: the cancel or fault since the last one, once.
  Status outcome();
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  const int device_;
  const Card card_;
  Ledger* const ledger_;
  // In this order: what is below is given back on the stream, which uses the pinned memory.
  Staging staging_;
  Pinned results_;
  OwnedEvent marks_[2];
  int mark_ = 0;
  OwnedStream stream_;
  Pool pool_;
  FaultWindow window_;
  std::shared_ptr<ScratchBlock> scratch_;
  std::vector<Item> queued_, captured_;
  bool capturing_ = false;
  std::atomic<bool> cancelled_{false};
  l3v_device_status found_{}, reported_{};
  Status kept_;  // of a drain, for the next wait
  int64_t ops_run_ = 0;
};

}  // namespace l3v::cuda
#endif
