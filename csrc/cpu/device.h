// device.h: the CPU as a Device.
//
// The stream is a list of ops that waits to be walked: by whatever waits for it, or once it is
// long. A captured graph is such a list, kept and walked again. An op is found bad before it is
// queued or while it runs, never in between.
#ifndef L3V_CPU_DEVICE_H
#define L3V_CPU_DEVICE_H

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "cpu.h"
#include "pool.h"

namespace l3v::cpu {

// One entry of the stream: a kernel with its arguments.
struct Item {
  // Calls kernel with args.
  void (*run)(const Item& item, Worker& w) = nullptr;
  void (*kernel)() = nullptr;
  int32_t op = 0;  // L3V_STRUCT_..., 0: a copy or a time stamp
  bool alone = false;  // too little work to share: worker 0 runs it
  alignas(8) char args[240];

  template <class Args>
  static Item of(int32_t op, void (*kernel)(const Args&, Worker&), const Args& args) {
    static_assert(sizeof(Args) <= sizeof(Item::args) && std::is_trivially_copyable<Args>::value,
                  "arguments are kept as bytes");
    Item item;
    item.run = [](const Item& item, Worker& w) {
      Args args;
      std::memcpy(static_cast<void*>(&args), item.args, sizeof args);
      reinterpret_cast<void (*)(const Args&, Worker&)>(item.kernel)(args, w);
    };
    item.kernel = reinterpret_cast<void (*)()>(kernel);
    item.op = op;
    std::memcpy(item.args, &args, sizeof args);
    return item;
  }
};

// Memory of the context: what the ledger allows and the system has.
class Memory {
 public:
  explicit Memory(Ledger* ledger) : ledger_(ledger) {}
  Status alloc(int64_t bytes, const char* what, char** out);
  void free(char* data, int64_t bytes);
  // L3V_OUT_OF_MEMORY when the system has no room for so many bytes more.
  Status room(int64_t bytes, const char* what) const;
  Ledger* ledger() const { return ledger_; }

 private:
  Ledger* const ledger_;
};

// The ops' scratch memory, as large as the largest op asked for: a piece for each worker, and one
// that all see.
class Scratch {
 public:
  Scratch(Memory* memory, int workers) : memory_(memory), workers_(workers) {}
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  // Grows to what an op needs; on L3V_OUT_OF_MEMORY what is there stays. Nothing runs meanwhile.
  Status grow(const Workspace& need);
  void lend(Worker* w) const {
    w->scratch = own_.data == nullptr ? nullptr : own_.data + w->index * (own_.bytes / workers_);
    w->shared = shared_.data;
  }

 private:
  struct Block {
    char* data = nullptr;
    int64_t bytes = 0;
  };
  Status grow(Block* block, int64_t each, int64_t pieces);
  Memory* const memory_;
  const int64_t workers_;
  Block own_, shared_;
};

class CpuDevice final : public Device {
 public:
  // Throws when the pool's threads cannot be made.
  CpuDevice(const Kernels& kernels, int workers, Ledger* ledger);

  Status alloc(int64_t bytes, char** out) override;
  void free(char* data, int64_t bytes) override;
  Status write(char* dst, const void* src, int64_t bytes) override;
  Status copy(char* dst, const char* src, int64_t bytes) override;
  Status read(void* dst, const char* src, int64_t bytes) override;
  void drain() override;
  Status synchronize() override;
  void cancel() override { pool_.cancel(); }
  l3v_device_status device_status() const override { return reported_; }
  int64_t ops_run() const override { return ops_run_; }

  Status weight_plan(int32_t dtype, int64_t rows, int64_t cols, int64_t* bytes) override;
  Status weight_create(int32_t dtype, int64_t rows, int64_t cols, std::unique_ptr<Weight>* out) override;
  Status weight_write(Weight* w, int64_t first, int64_t rows, const void* src) override;
  Status weight_read(const Weight* w, int64_t first, int64_t rows, void* dst) override;
  Status weight_write_packed(Weight* w, int64_t offset, int64_t bytes, const void* src) override;
  Status weight_read_packed(const Weight* w, int64_t offset, int64_t bytes, void* dst) override;

  void capture_begin() override;
  Status capture_end(std::unique_ptr<Graph>* out) override;
  void capture_abort() override;
  Status replay(Graph* graph, int32_t steps, char* in, const void* host_in, int64_t in_bytes,
                const char* out, void* host_out, int64_t out_bytes, int32_t* done) override;

  Status measure_peak(int32_t kind, int32_t dtype, int64_t bytes, double seconds,
                      double* per_second, double* per_cycle) override;  // peak.cpp

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
  class Walk;

  // Puts an op at the end of the stream, or of the capture that is open. work is about how long one
  // worker takes for it, in nanoseconds (work.h); workspace asks for the op's scratch memory.
  template <class Args>
  Status queue(int32_t op, void (*kernel)(const Args&, Worker&), const Args& a, int64_t work,
               Workspace (*workspace)(const Args&, int workers) = nullptr);
  // The outcome of all that was walked since the last one.
  Status outcome();

  const Kernels& kernels_;
  Memory memory_;
  Pool pool_;
  Scratch scratch_;
  std::vector<Item> queued_;
  std::vector<Item> captured_;
  bool capturing_ = false;
  int64_t ops_run_ = 0;
  l3v_device_status reported_{};
};

}  // namespace l3v::cpu
#endif
