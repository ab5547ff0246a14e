#include "device.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <new>
#include <string>
#include <system_error>

#include "../common/fault.h"
#include "memory.h"
#include "ops.h"
#include "processor.h"
#include "weight.h"
#include "work.h"

namespace l3v::cpu {

struct CpuGraph final : Graph {
  CpuGraph(Ledger* ledger, std::vector<Item> items) : ledger(ledger), items(std::move(items)) {}
  ~CpuGraph() override { ledger->give(bytes); }
  Ledger* const ledger;
  const std::vector<Item> items;
  int64_t bytes = 0;  // in the ledger
};

struct CpuEvent final : Event {
  int64_t nanoseconds = 0;
};

namespace {

// A stream this long is walked without anybody waiting, so that it cannot grow for ever.
constexpr size_t kLongStream = 4096;
// Smaller requests are not held against the system's free memory: asking costs more than they do.
constexpr int64_t kWorthAsking = int64_t{16} << 20;
// A worker looks for a cancel between two claims. The longest claim is attention over a long
// sequence: with 32768 keys, 32 heads of 128 and workers that share their cores, up to 200 ms in
// the vector sets and 770 ms in the scalar one.
constexpr int32_t kCancelLatencyMs = 250;
constexpr int32_t kCancelLatencyScalarMs = 1000;
// An op shorter than this many nanoseconds is not shared. Where every worker has a core of its own,
// sharing it would gain half of that and cost a microsecond at the barrier; where cores are busy
// with other work, a barrier can cost a time slice of milliseconds, and a decode step of a small
// model is nothing but short ops. Results do not depend on it.
constexpr int64_t kWorthSharing = 40000;
// How much slower the scalar set is than what work.h counts with, at least.
constexpr int64_t kScalarSlower = 20;
// More threads than any machine has cores are a mistake, and each costs a stack.
constexpr int32_t kMaxThreads = 1024;

struct CopyArgs {
  char* dst;
  const char* src;
  int64_t bytes;
};

void copy_bytes(const CopyArgs& a, Worker& w) {
  constexpr int64_t kPiece = 256 << 10;
  for (int64_t i; (i = w.claim((a.bytes + kPiece - 1) / kPiece)) >= 0;)
    std::memcpy(a.dst + i * kPiece, a.src + i * kPiece,
                static_cast<size_t>(std::min(kPiece, a.bytes - i * kPiece)));
}

struct StampArgs {
  CpuEvent* event;
};

void stamp(const StampArgs& a, Worker& w) {
  if (w.index != 0) return;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  a.event->nanoseconds = int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
  a.event->recorded = true;
}

}  // namespace

// A list walked by all workers, steps times. Whoever comes last to the barrier behind an op decides
// for all whether to go on, so that no worker waits at a barrier that another does not reach.
class CpuDevice::Walk final : public Pool::Job {
 public:
  Walk(CpuDevice* device, const std::vector<Item>& items, int32_t steps)
      : device_(device), items_(items), steps_(steps) {}

  // After each step, bytes go from here to there + step * bytes.
  void copy_out(const char* from, void* to, int64_t bytes) {
    out_ = from;
    host_out_ = static_cast<char*>(to);
    out_bytes_ = bytes;
  }
  void run() {
    Pool& pool = device_->pool_;
    if (pool.cancelled()) return;
    if (pool.count() > 1 && std::all_of(items_.begin(), items_.end(), [](const Item& i) { return i.alone; }))
      run_alone();
    else
      pool.run(*this);
  }
  int32_t done() const { return done_; }  // steps that ended with neither fault nor cancel

  void work(Worker& w) override {
    Pool& pool = device_->pool_;
    do {
      for (size_t i = 0; i < items_.size() && !stop_;) {
        if (pool.count() > 1 && items_[i].alone) {
          // A stretch of short ops: one worker runs it, and the others meet it behind its end.
          const size_t end = end_of_stretch(i);
          if (w.index == 0) stretch_stops_ = run_stretch(i, end);
          i = end;
          // Others may still look at stop_ while the stretch runs, so it changes here.
          pool.barrier([&] { stop_ = stretch_stops_; });
        } else {
          device_->scratch_.lend(&w);
          items_[i].run(items_[i], w);
          pool.barrier([&] { stop_ = end_op(items_[i]); });
          i++;
        }
      }
      if (stop_) return;
      // A list without ops still moves its blocks.
      pool.barrier([&] { end_step(); });
    } while (!stop_);
  }

 private:
  size_t end_of_stretch(size_t i) const {
    while (i < items_.size() && items_[i].alone) i++;
    return i;
  }
  // Runs items on the calling worker alone; nobody else touches claims or outcome meanwhile. Says
  // whether to stop.
  bool run_stretch(size_t begin, size_t end) {
    Worker w;
    w.pool = &device_->pool_;
    for (size_t i = begin; i < end; i++) {
      w.pool->restart_claims();
      device_->scratch_.lend(&w);
      items_[i].run(items_[i], w);
      if (end_op(items_[i])) return true;
    }
    return false;
  }
  // A list of short ops alone needs no other worker: none is woken.
  void run_alone() {
    do {
      stop_ = run_stretch(0, items_.size());
      if (!stop_) end_step();
    } while (!stop_);
  }
  // Says whether to stop.
  bool end_op(const Item& item) {
    device_->pool_.faults().close(item.op);
    if (device_->pool_.cancelled()) return true;
    if (item.op != 0) device_->ops_run_++;
    return false;
  }
  void end_step() {
    // What follows a fault in the list has run, on whatever the op left; it is no result.
    if (device_->pool_.faults().any()) {
      stop_ = true;
      return;
    }
    if (out_bytes_ > 0)
      std::memcpy(host_out_ + done_ * out_bytes_, out_, static_cast<size_t>(out_bytes_));
    done_++;
    if (done_ == steps_) stop_ = true;
  }

  CpuDevice* device_;
  const std::vector<Item>& items_;
  const int32_t steps_;
  const char* out_ = nullptr;
  char* host_out_ = nullptr;
  int64_t out_bytes_ = 0;
  int32_t done_ = 0;
  bool stop_ = false;            // read by all behind a barrier, written inside one
  bool stretch_stops_ = false;   // worker 0's, until the barrier behind its stretch
};

Status Memory::room(int64_t bytes, const char* what) const {
  if (bytes < kWorthAsking) return {};
  int64_t left = system_memory().available;
  if (left < 0) return {};
  // A page is taken when it is first touched. What the context holds beyond all that the process
  // has touched is promised already.
  const int64_t resident = resident_memory();
  if (resident >= 0 && ledger_->bytes > resident) left -= ledger_->bytes - resident;
  if (bytes <= left) return {};
  return fail(L3V_OUT_OF_MEMORY, "%s: needs %lld bytes, and the system has %lld available", what,
              static_cast<long long>(bytes), static_cast<long long>(std::max(int64_t{0}, left)));
}

Status Memory::alloc(int64_t bytes, const char* what, char** out) {
  if (Status s = room(bytes, what); !s.ok()) return s;
  if (Status s = ledger_->take(bytes, what); !s.ok()) return s;
  *out = allocate(bytes);
  if (*out != nullptr) return {};
  ledger_->give(bytes);
  return fail(L3V_OUT_OF_MEMORY, "%s: needs %lld bytes, and the system gives none", what,
              static_cast<long long>(bytes));
}

void Memory::free(char* data, int64_t bytes) {
  release(data, bytes);
  ledger_->give(bytes);
}

Scratch::~Scratch() {
  for (const Block& b : {own_, shared_}) {
    if (b.data == nullptr) continue;
    memory_->free(b.data, b.bytes);
    memory_->ledger()->workspace -= b.bytes;
  }
}

Status Scratch::grow(const Workspace& need) {
  if (Status s = grow(&own_, need.per_worker, workers_); !s.ok()) return s;
  return grow(&shared_, need.shared, 1);
}

Status Scratch::grow(Block* block, int64_t each, int64_t pieces) {
  constexpr int64_t kPage = 4096;  // no two workers' pieces share a cache line
  int64_t bytes;
  if (each < 0 || __builtin_add_overflow(each, kPage - 1, &bytes) ||
      __builtin_mul_overflow(bytes / kPage * kPage, pieces, &bytes))
    return fail(L3V_OUT_OF_MEMORY, "workspace: needs more bytes than 64 bits can count");
  if (bytes <= block->bytes) return {};
  char* data = nullptr;
  if (Status s = memory_->alloc(bytes, "workspace", &data); !s.ok()) return s;
  if (block->data != nullptr) memory_->free(block->data, block->bytes);
  memory_->ledger()->workspace += bytes - block->bytes;
  *block = {data, bytes};
  return {};
}

CpuDevice::CpuDevice(const Kernels& kernels, int workers, Ledger* ledger)
    : kernels_(kernels), memory_(ledger), pool_(workers), scratch_(&memory_, workers) {}

template <class Args>
Status CpuDevice::queue(int32_t op, void (*kernel)(const Args&, Worker&), const Args& a,
                        int64_t work, Workspace (*workspace)(const Args&, int workers)) {
  Item item = Item::of(op, kernel, a);
  if (&kernels_ == scalar_kernels()) work *= kScalarSlower;
  item.alone = pool_.count() == 1 || work < kWorthSharing;
  if (workspace != nullptr)
    if (Status s = scratch_.grow(workspace(a, item.alone ? 1 : pool_.count())); !s.ok()) return s;
  if (capturing_) {
    captured_.push_back(item);
    return {};
  }
  queued_.push_back(item);
  if (queued_.size() >= kLongStream) drain();
  return {};
}

Status CpuDevice::alloc(int64_t bytes, char** out) { return memory_.alloc(bytes, "buffer", out); }

void CpuDevice::free(char* data, int64_t bytes) { memory_.free(data, bytes); }

Status CpuDevice::write(char* dst, const void* src, int64_t bytes) {
  drain();
  std::memcpy(dst, src, static_cast<size_t>(bytes));
  return {};
}

Status CpuDevice::copy(char* dst, const char* src, int64_t bytes) {
  return queue(0, copy_bytes, CopyArgs{dst, src, bytes}, moving(2 * bytes));
}

Status CpuDevice::read(void* dst, const char* src, int64_t bytes) {
  if (Status s = synchronize(); !s.ok()) return s;
  std::memcpy(dst, src, static_cast<size_t>(bytes));
  return {};
}

void CpuDevice::drain() {
  if (queued_.empty()) return;
  Walk(this, queued_, 1).run();
  queued_.clear();
}

Status CpuDevice::synchronize() {
  drain();
  return outcome();
}

Status CpuDevice::outcome() {
  FaultBox& faults = pool_.faults();
  const l3v_device_status found = faults.found();
  faults.clear();
  if (pool_.take_cancel()) return fail(L3V_CANCELLED, "l3v_cancel stopped the queued work");
  if (found.fault == L3V_FAULT_NONE) return {};
  reported_ = found;
  return fault_status(found);
}

Status CpuDevice::weight_plan(int32_t dtype, int64_t rows, int64_t cols, int64_t* bytes) {
  return cpu::weight_plan(dtype, rows, cols, bytes);
}

Status CpuDevice::weight_create(int32_t dtype, int64_t rows, int64_t cols,
                                std::unique_ptr<Weight>* out) {
  int64_t bytes = 0;
  if (Status s = cpu::weight_plan(dtype, rows, cols, &bytes); !s.ok()) return s;
  if (Status s = memory_.room(bytes, "weight"); !s.ok()) return s;
  return cpu::weight_create(dtype, rows, cols, memory_.ledger(), out);
}

Status CpuDevice::weight_write(Weight* w, int64_t first, int64_t rows, const void* src) {
  drain();
  cpu::weight_write(w, first, rows, src);
  return {};
}

Status CpuDevice::weight_read(const Weight* w, int64_t first, int64_t rows, void* dst) {
  if (Status s = synchronize(); !s.ok()) return s;
  cpu::weight_read(w, first, rows, dst);
  return {};
}

Status CpuDevice::weight_write_packed(Weight* w, int64_t offset, int64_t bytes, const void* src) {
  drain();
  std::memcpy(static_cast<PackedWeight*>(w)->data + offset, src, static_cast<size_t>(bytes));
  return {};
}

Status CpuDevice::weight_read_packed(const Weight* w, int64_t offset, int64_t bytes, void* dst) {
  if (Status s = synchronize(); !s.ok()) return s;
  std::memcpy(dst, packed(w).data + offset, static_cast<size_t>(bytes));
  return {};
}

void CpuDevice::capture_begin() { capturing_ = true; }

Status CpuDevice::capture_end(std::unique_ptr<Graph>* out) {
  auto graph = std::make_unique<CpuGraph>(memory_.ledger(), captured_);
  const int64_t bytes = static_cast<int64_t>(captured_.size() * sizeof(Item));
  if (Status s = memory_.ledger()->take(bytes, "graph"); !s.ok()) return s;
  graph->bytes = bytes;
  *out = std::move(graph);
  capture_abort();
  return {};
}

void CpuDevice::capture_abort() {
  capturing_ = false;
  captured_.clear();
}

Status CpuDevice::replay(Graph* graph, int32_t steps, char* in, const void* host_in, int64_t in_bytes,
                         const char* out, void* host_out, int64_t out_bytes, int32_t* done) {
  *done = 0;
  drain();
  if (pool_.cancelled() || pool_.faults().any()) return outcome();
  if (in_bytes > 0) std::memcpy(in, host_in, static_cast<size_t>(in_bytes));
  Walk walk(this, static_cast<CpuGraph*>(graph)->items, steps);
  walk.copy_out(out, host_out, out_bytes / steps);
  walk.run();
  *done = walk.done();
  return outcome();
}

Status CpuDevice::event_create(std::unique_ptr<Event>* out) {
  *out = std::make_unique<CpuEvent>();
  return {};
}

Status CpuDevice::event_record(Event* event) {
  return queue(0, stamp, StampArgs{static_cast<CpuEvent*>(event)}, 0);
}

Status CpuDevice::event_elapsed(Event* start, Event* end, double* seconds) {
  if (Status s = synchronize(); !s.ok()) return s;
  *seconds = static_cast<double>(static_cast<CpuEvent*>(end)->nanoseconds -
                                 static_cast<CpuEvent*>(start)->nanoseconds) *
             1e-9;
  return {};
}

Status CpuDevice::linear(const LinearArgs& a) {
  return queue(L3V_STRUCT_LINEAR, kernels_.linear, a, work_of(a), kernels_.linear_workspace);
}
Status CpuDevice::embedding(const EmbeddingArgs& a) {
  return queue(L3V_STRUCT_EMBEDDING, kernels_.embedding, a, work_of(a));
}
Status CpuDevice::layer_norm(const LayerNormArgs& a) {
  return queue(L3V_STRUCT_LAYER_NORM, kernels_.layer_norm, a, work_of(a));
}
Status CpuDevice::rms_norm(const RmsNormArgs& a) {
  return queue(L3V_STRUCT_RMS_NORM, kernels_.rms_norm, a, work_of(a));
}
Status CpuDevice::patch_embed(const PatchEmbedArgs& a) {
  return queue(L3V_STRUCT_PATCH_EMBED, kernels_.patch_embed, a, work_of(a), kernels_.patch_embed_workspace);
}
Status CpuDevice::attention(const AttentionArgs& a) {
  return queue(L3V_STRUCT_ATTENTION, kernels_.attention, a, work_of(a), kernels_.attention_workspace);
}
Status CpuDevice::cache_append(const CacheAppendArgs& a) {
  return queue(L3V_STRUCT_CACHE_APPEND, kernels_.cache_append, a, work_of(a));
}
Status CpuDevice::paged_attention(const PagedAttentionArgs& a) {
  return queue(L3V_STRUCT_PAGED_ATTENTION, kernels_.paged_attention, a, work_of(a), kernels_.paged_attention_workspace);
}
Status CpuDevice::rope(const RopeArgs& a) {
  return queue(L3V_STRUCT_ROPE, kernels_.rope, a, work_of(a));
}
Status CpuDevice::swiglu(const SwigluArgs& a) {
  return queue(L3V_STRUCT_SWIGLU, kernels_.swiglu, a, work_of(a));
}
Status CpuDevice::activation(const ActivationArgs& a) {
  return queue(L3V_STRUCT_ACTIVATION, kernels_.activation, a, work_of(a));
}
Status CpuDevice::copy_rows(const CopyRowsArgs& a) {
  return queue(L3V_STRUCT_COPY_ROWS, kernels_.copy_rows, a, work_of(a));
}
Status CpuDevice::softmax(const SoftmaxArgs& a) {
  return queue(L3V_STRUCT_SOFTMAX, kernels_.softmax, a, work_of(a));
}
Status CpuDevice::topk(const TopkArgs& a) {
  return queue(L3V_STRUCT_TOPK, kernels_.topk, a, work_of(a), kernels_.topk_workspace);
}
Status CpuDevice::advance(const AdvanceArgs& a) {
  return queue(L3V_STRUCT_ADVANCE, kernels_.advance, a, work_of(a));
}
Status CpuDevice::check_finite(const CheckFiniteArgs& a) {
  return queue(L3V_STRUCT_CHECK_FINITE, kernels_.check_finite, a, work_of(a));
}
Status CpuDevice::penalize(const PenalizeArgs& a) {
  return queue(L3V_STRUCT_PENALIZE, kernels_.penalize, a, work_of(a));
}
Status CpuDevice::sample(const SampleArgs& a) {
  return queue(L3V_STRUCT_SAMPLE, kernels_.sample, a, work_of(a), kernels_.sample_workspace);
}
Status CpuDevice::log_prob(const LogProbArgs& a) {
  return queue(L3V_STRUCT_LOG_PROB, kernels_.log_prob, a, work_of(a));
}

}  // namespace l3v::cpu

namespace l3v {

using namespace cpu;

Status backend_probe(int32_t device, l3v_capabilities* out) {
  if (device != 0) return fail(L3V_UNSUPPORTED, "there is no cpu device %d: 0 is the only one", device);
  const Kernels* kernels = nullptr;
  if (Status s = choose_kernels("", &kernels); !s.ok()) return s;
  const auto types = [](auto... type) { return ((uint64_t{1} << type) | ...); };
  const SystemMemory memory = system_memory();
  *out = {};
  out->struct_size = sizeof *out;
  out->flags = L3V_CAP_CAPTURE | L3V_CAP_BATCH_INVARIANT;
  out->weight_types =
      types(L3V_F32, L3V_F16, L3V_BF16, L3V_Q4_0, L3V_Q4_1, L3V_Q5_0, L3V_Q5_1, L3V_Q8_0, L3V_Q2_K,
            L3V_Q3_K, L3V_Q4_K, L3V_Q5_K, L3V_Q6_K, L3V_IQ4_NL, L3V_IQ4_XS);
  out->activation_types = types(L3V_F32);
  out->compute_types = types(L3V_F32, L3V_BF16, L3V_I8);
  out->memory_total = std::max(int64_t{0}, memory.total);
  out->memory_free = std::max(int64_t{0}, memory.available);
  out->max_head_dim = kMaxHeadDim;
  out->max_topk = kMaxTopk;
  out->cores = processor().cores;
  out->cancel_latency_ms = kernels == scalar_kernels() ? kCancelLatencyScalarMs : kCancelLatencyMs;
  std::snprintf(out->name, sizeof out->name, "cpu");
  describe_device(*kernels, out->device, sizeof out->device);
  return {};
}

Status backend_create(const l3v_context_params& p, Ledger* ledger, std::unique_ptr<Device>* out) {
  if (p.device != 0)
    return fail(L3V_UNSUPPORTED, "there is no cpu device %d: 0 is the only one", p.device);
  if (p.threads > kMaxThreads)
    return fail(L3V_INVALID_ARGUMENT, "threads is %d, above %d", p.threads, kMaxThreads);
  const Kernels* kernels = nullptr;
  if (Status s = choose_kernels(p.kernels, &kernels); !s.ok()) return s;
  const int workers = p.threads > 0 ? p.threads : processor().cores;
  try {
    *out = std::make_unique<CpuDevice>(*kernels, workers, ledger);
  } catch (const std::system_error& e) {
    return fail(L3V_OUT_OF_MEMORY, "the system starts no %d threads: %s", workers, e.what());
  }
  return {};
}

}  // namespace l3v
