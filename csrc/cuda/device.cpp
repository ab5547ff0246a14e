#include "device.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "../common/fault.h"
#include "../common/op.h"
#include "ops.h"

namespace l3v::cuda {
namespace {

// Ops that go to the stream at once. With two chunks under way, l3v_cancel waits for at most this
// many ops twice.
constexpr size_t kChunk = 32;
// Words of the window of ops that are not captured; more of them run and are looked at in between.
constexpr size_t kWindow = 4096;
constexpr int32_t kCancelLatencyMs = 1000;  // two chunks of the largest ops in plain form

// Pinned memory for what comes back: a few hundred steps of a decode graph, and pieces of what is
// longer.
constexpr int64_t kResultBytes = 1 << 20;

struct CudaEvent final : Event {
  OwnedEvent event;
};

size_t words_of(const std::vector<Item>& items) {
  size_t n = 0;
  for (const Item& i : items) n += i.kinds.size();
  return n;
}

}  // namespace

struct CudaGraph final : Graph {
  ~CudaGraph() override {
    for (cudaGraphExec_t chunk : chunks) cudaGraphExecDestroy(chunk);
  }
  std::vector<Item> items;
  std::vector<cudaGraphExec_t> chunks;  // of kChunk items each; the first begins by clearing the window
  FaultWindow window;
  std::shared_ptr<ScratchBlock> scratch;
};

Status FaultWindow::create(size_t words, Pool* pool) {
  if (words == 0) return {};
  char* p = nullptr;
  L3V_PASS(pool->take(static_cast<int64_t>(words * sizeof *device_), "fault words", &p));
  device_ = reinterpret_cast<unsigned long long*>(p);
  words_ = words;
  pool_ = pool;
  return {};
}

void FaultWindow::release() {
  if (words_ != 0) pool_->give(reinterpret_cast<char*>(device_), bytes());
  device_ = nullptr;
  words_ = 0;
}

cudaError_t FaultWindow::clear(cudaStream_t stream) {
  return words_ == 0 ? cudaSuccess : cudaMemsetAsync(device_, 0xFF, words_ * sizeof *device_, stream);
}

cudaError_t FaultWindow::fetch(char* pinned, cudaStream_t stream) {
  return words_ == 0 ? cudaSuccess : cudaMemcpyAsync(pinned, device_, words_ * sizeof *device_, cudaMemcpyDeviceToHost, stream);
}

l3v_device_status found_in(const std::vector<Item>& items, const char* words) {
  for (const Item& item : items) {
    l3v_device_status status{};
    unsigned long long least = kNoFault;
    for (int32_t kind : item.kinds) {
      unsigned long long one = 0;
      std::memcpy(&one, words, sizeof one);
      words += sizeof one;
      if (one >= least) continue;
      least = one;
      status = {sizeof status, kind, item.op, item.stage, static_cast<int64_t>(one >> 32),
                static_cast<int32_t>(static_cast<uint32_t>(one) ^ 0x80000000u)};
    }
    if (least != kNoFault) return status;
  }
  return {};
}

ScratchBlock::~ScratchBlock() {
  if (data_ == nullptr) return;
  pool_->give(data_, bytes_);
  ledger_->workspace -= bytes_;
}

Status ScratchBlock::create(int64_t bytes, Pool* pool, Ledger* ledger, std::shared_ptr<ScratchBlock>* out) {
  auto block = std::make_shared<ScratchBlock>();
  L3V_PASS(pool->take(bytes, "workspace", &block->data_));
  block->bytes_ = bytes;
  block->pool_ = pool;
  block->ledger_ = ledger;
  ledger->workspace += bytes;
  *out = std::move(block);
  return {};
}

Status CudaDevice::open() {
  L3V_PASS(make_current(device_));
  L3V_PASS(stream_.create());
  for (OwnedEvent& mark : marks_) L3V_PASS(mark.create(cudaEventDisableTiming));
  L3V_PASS(pool_.open(device_, stream_, ledger_));
  L3V_PASS(staging_.open(ledger_));
  return results_.create(kResultBytes, ledger_);
}

// Members go in reverse order; a lost device refuses every call, and that is no matter here.
CudaDevice::~CudaDevice() {
  cudaSetDevice(device_);
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
}

Status CudaDevice::alloc(int64_t bytes, char** out) {
  char* p = nullptr;
  L3V_PASS(pool_.take(bytes, "buffer", &p));
  if (Status s = failed(cudaMemsetAsync(p, 0, static_cast<size_t>(bytes), stream_), "cudaMemsetAsync"); !s.ok()) {
    pool_.give(p, bytes);
    return s;
  }
  *out = p;
  return {};
}

void CudaDevice::free(char* data, int64_t bytes) { pool_.give(data, bytes); }

Status CudaDevice::write(char* dst, const void* src, int64_t bytes) {
  L3V_PASS(make_current(device_));
  L3V_PASS(run_queued());
  return staging_.write(dst, src, bytes, stream_);
}

Status CudaDevice::copy(char* dst, const char* src, int64_t bytes) {
  Item item;
  item.run = [=](const Queue& q) {
    cudaMemcpyAsync(dst, src, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, q.stream);
  };
  return put(std::move(item));
}

Status CudaDevice::read(void* dst, const char* src, int64_t bytes) {
  L3V_PASS(synchronize());
  return fetch(static_cast<char*>(dst), src, bytes);
}

Status CudaDevice::fetch(char* dst, const char* src, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += results_.bytes()) {
    const size_t n = static_cast<size_t>(std::min(results_.bytes(), bytes - at));
    L3V_TRY(cudaMemcpyAsync(results_.data(), src + at, n, cudaMemcpyDeviceToHost, stream_));
    L3V_TRY(cudaStreamSynchronize(stream_));
    std::memcpy(dst + at, results_.data(), n);
  }
  return {};
}

std::vector<Item>& CudaDevice::list(size_t kinds) {
  if (capturing_) return captured_;
  if (words_of(queued_) + kinds > kWindow) drain();
  return queued_;
}

Status CudaDevice::put(Item item) {
  std::vector<Item>& items = list(item.kinds.size());
  if (capturing_ || kept_.ok()) items.push_back(std::move(item));  // else the next wait says so
  return {};
}

template <class Args>
Status CudaDevice::queue(int32_t op, void (*launcher)(const Args&, const Queue&), const Args& a,
                         std::initializer_list<int32_t> kinds, int64_t scratch, int32_t stage) {
  L3V_PASS(grow_scratch(scratch));
  return put({[=](const Queue& q) { launcher(a, q); }, op, stage, kinds, {}});
}

Status CudaDevice::grow_scratch(int64_t bytes) {
  if (bytes <= 0 || (scratch_ != nullptr && bytes <= scratch_->bytes())) return {};
  std::shared_ptr<ScratchBlock> block;
  L3V_PASS(ScratchBlock::create(bytes, &pool_, ledger_, &block));
  scratch_ = std::move(block);  // the old one is given back behind the kernels that use it
  return {};
}

Status CudaDevice::launch(const std::vector<Item>& items, size_t begin, size_t end, const FaultWindow& window, size_t* word) {
  for (size_t i = begin; i < end; i++) {
    cudaError_t failure = cudaSuccess;
    items[i].run({stream_, window.device(*word), scratch_ == nullptr ? nullptr : scratch_->data(), card_, &failure});
    *word += items[i].kinds.size();
    L3V_PASS(failed(failure, op_name(items[i].op)));
    L3V_PASS(failed(cudaGetLastError(), op_name(items[i].op)));
  }
  return {};
}

Status CudaDevice::pace() {
  L3V_TRY(cudaEventRecord(marks_[mark_], stream_));
  mark_ ^= 1;
  L3V_TRY(cudaEventSynchronize(marks_[mark_]));  // of the chunk before; at first of none
  return {};
}

// Launches what is queued. What it found and what failed wait for outcome().
Status CudaDevice::run_queued() {
  if (queued_.empty() || !kept_.ok()) return kept_.ok() ? Status{} : kept_;
  std::vector<Item> items;
  items.swap(queued_);
  if (window_.bytes() == 0 && words_of(items) > 0) {
    L3V_PASS(window_.create(kWindow, &pool_));
    if (Status s = failed(window_.clear(stream_), "cudaMemsetAsync"); !s.ok()) {
      window_.release();
      return s;
    }
  }
  size_t word = 0;
  for (size_t begin = 0; begin < items.size() && !cancelled(); begin += kChunk) {
    const size_t end = std::min(items.size(), begin + kChunk);
    L3V_PASS(launch(items, begin, end, window_, &word));
    L3V_PASS(pace());
    for (size_t i = begin; i < end; i++) ops_run_ += items[i].op != 0;
  }
  if (words_of(items) == 0) return {};
  L3V_TRY(window_.fetch(results_.data(), stream_));
  L3V_TRY(window_.clear(stream_));
  L3V_TRY(cudaStreamSynchronize(stream_));
  if (found_.fault == L3V_FAULT_NONE) found_ = found_in(items, results_.data());
  return {};
}

void CudaDevice::drain() {
  Status s = make_current(device_);
  if (s.ok()) s = run_queued();
  if (s.ok()) s = failed(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  if (kept_.ok()) kept_ = s;
}

Status CudaDevice::synchronize() {
  drain();
  return outcome();
}

Status CudaDevice::outcome() {
  Status kept;
  std::swap(kept, kept_);
  const l3v_device_status found = found_;
  found_ = {};
  if (!kept.ok()) return kept;
  if (cancelled_.exchange(false)) return fail(L3V_CANCELLED, "l3v_cancel stopped the queued work");
  if (found.fault == L3V_FAULT_NONE) return {};
  reported_ = found;
  return fault_status(found);
}

void CudaDevice::capture_abort() {
  capturing_ = false;
  captured_.clear();
}

Status CudaDevice::capture_end(std::unique_ptr<Graph>* out) {
  capturing_ = false;
  L3V_PASS(make_current(device_));
  L3V_PASS(run_queued());
  auto graph = std::make_unique<CudaGraph>();
  graph->items = std::move(captured_);
  captured_.clear();
  graph->scratch = scratch_;
  const int64_t words = static_cast<int64_t>(words_of(graph->items) * sizeof kNoFault);
  if (words > results_.bytes()) return fail(L3V_UNSUPPORTED, "a graph with %lld bytes of fault words, and at most %lld", static_cast<long long>(words), static_cast<long long>(results_.bytes()));
  L3V_PASS(graph->window.create(words_of(graph->items), &pool_));
  size_t word = 0;
  for (size_t begin = 0; begin < graph->items.size(); begin += kChunk) {
    const size_t end = std::min(graph->items.size(), begin + kChunk);
    L3V_TRY(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    Status launched;
    if (begin == 0) launched = failed(graph->window.clear(stream_), "cudaMemsetAsync");
    if (launched.ok()) launched = launch(graph->items, begin, end, graph->window, &word);
    cudaGraph_t captured = nullptr;
    const cudaError_t e = cudaStreamEndCapture(stream_, &captured);
    cudaGraphExec_t chunk = nullptr;
    Status s = launched.ok() ? failed(e, "cudaStreamEndCapture") : launched;
    if (s.ok()) s = failed(cudaGraphInstantiate(&chunk, captured, 0), "cudaGraphInstantiate");
    if (captured != nullptr) cudaGraphDestroy(captured);
    if (!s.ok()) return s;
    graph->chunks.push_back(chunk);
  }
  *out = std::move(graph);
  return {};
}

Status CudaDevice::replay(Graph* graph, int32_t steps, char* in, const void* host_in, int64_t in_bytes, const char* out,
                          void* host_out, int64_t out_bytes, int32_t* done) {
  CudaGraph& g = *static_cast<CudaGraph*>(graph);
  *done = 0;
  L3V_PASS(make_current(device_));
  drain();
  if (!kept_.ok() || cancelled() || found_.fault != L3V_FAULT_NONE) return outcome();
  if (in_bytes > 0) L3V_PASS(staging_.write(in, host_in, in_bytes, stream_));
  const int64_t words = g.window.bytes(), out_each = out_bytes / steps;
  // A step's words and out block lie side by side in pinned memory, of as many steps as fit. An out
  // block that does not fit alone is fetched step by step.
  const bool fits = words + out_each <= results_.bytes();
  const int64_t each = fits ? words + out_each : words;
  const int32_t together = fits && each > 0 ? static_cast<int32_t>(std::min<int64_t>(steps, results_.bytes() / each)) : 1;
  for (int32_t first = 0; first < steps && !cancelled(); first += together) {
    const int32_t count = std::min(together, steps - first);
    int32_t launched = 0;
    for (bool whole = true; launched < count; launched++) {
      L3V_PASS(launch_graph(g, g.chunks.size() > 1 || steps > 1, &whole));
      if (!whole) break;
      char* at = results_.data() + launched * each;
      L3V_TRY(g.window.fetch(at, stream_));
      if (fits && out_each > 0)
        L3V_TRY(cudaMemcpyAsync(at + words, out, static_cast<size_t>(out_each), cudaMemcpyDeviceToHost, stream_));
    }
    L3V_TRY(cudaStreamSynchronize(stream_));
    for (int32_t i = 0; i < launched; i++) {
      const char* at = results_.data() + i * each;
      found_ = found_in(g.items, at);
      if (found_.fault != L3V_FAULT_NONE) return outcome();
      char* to = static_cast<char*>(host_out) + *done * out_each;
      if (fits && out_each > 0) std::memcpy(to, at + words, static_cast<size_t>(out_each));
      if (!fits) L3V_PASS(fetch(to, out, out_each));
      ++*done;
    }
  }
  return outcome();
}

Status CudaDevice::launch_graph(const CudaGraph& g, bool paced, bool* whole) {
  *whole = false;
  size_t begin = 0;
  for (cudaGraphExec_t chunk : g.chunks) {
    if (cancelled()) return {};
    L3V_TRY(cudaGraphLaunch(chunk, stream_));
    if (paced) L3V_PASS(pace());
    const size_t end = std::min(g.items.size(), begin + kChunk);
    for (size_t i = begin; i < end; i++) ops_run_ += g.items[i].op != 0;
    begin = end;
  }
  *whole = true;
  return {};
}

// The fastest of launches that last long enough for the clock of events.
Status CudaDevice::measure_peak(int32_t kind, int32_t dtype, int64_t bytes, double seconds, double* per_second,
                                double* per_cycle) {
  L3V_PASS(make_current(device_));
  bytes = std::max<int64_t>(bytes, 16);
  struct Lent {
    Pool& pool;
    char* data;
    int64_t bytes;
    ~Lent() { pool.give(data, bytes); }
  } memory{pool_, nullptr, bytes};
  L3V_PASS(pool_.take(bytes, "memory to read", &memory.data));
  L3V_TRY(cudaMemsetAsync(memory.data, 0, static_cast<size_t>(bytes), stream_));
  OwnedEvent begin, end;
  L3V_PASS(begin.create(cudaEventDefault));
  L3V_PASS(end.create(cudaEventDefault));
  constexpr double kLongEnough = 2e-3;
  double best = 0;
  int64_t rounds = 1;
  for (double passed = 0; passed < seconds && !cancelled();) {
    cudaError_t failure = cudaSuccess;
    const Queue q{stream_, nullptr, nullptr, card_, &failure};
    L3V_TRY(cudaEventRecord(begin, stream_));
    const double work = kind == L3V_PEAK_READ ? peak_read_cuda(memory.data, bytes, rounds, memory.data, q)
                                              : peak_products_cuda(dtype, rounds, memory.data, q);
    L3V_TRY(failure);
    L3V_TRY(cudaGetLastError());
    L3V_TRY(cudaEventRecord(end, stream_));
    L3V_TRY(cudaStreamSynchronize(stream_));
    float milliseconds = 0;
    L3V_TRY(cudaEventElapsedTime(&milliseconds, begin, end));
    const double took = std::max(milliseconds * 1e-3, 1e-6);
    passed += took;
    best = std::max(best, work / took);
    if (took < kLongEnough) rounds *= 2;
  }
  if (cancelled()) return outcome();
  int kilohertz = 0;
  L3V_TRY(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, device_));
  *per_second = best;
  *per_cycle = best / (kilohertz * 1e3 * card_.multiprocessors);
  return {};
}

Status CudaDevice::event_create(std::unique_ptr<Event>* out) {
  L3V_PASS(make_current(device_));
  auto event = std::make_unique<CudaEvent>();
  L3V_PASS(event->event.create(cudaEventDefault));
  *out = std::move(event);
  return {};
}

Status CudaDevice::event_record(Event* event) {
  Item item;
  CudaEvent* e = static_cast<CudaEvent*>(event);
  item.run = [=](const Queue& q) {
    cudaEventRecord(e->event, q.stream);
    e->recorded = true;
  };
  return put(std::move(item));
}

Status CudaDevice::event_elapsed(Event* start, Event* end, double* seconds) {
  L3V_PASS(synchronize());
  float milliseconds = 0;
  L3V_TRY(cudaEventElapsedTime(&milliseconds, static_cast<CudaEvent*>(start)->event, static_cast<CudaEvent*>(end)->event));
  *seconds = milliseconds * 1e-3;
  return {};
}

// Each op with the kinds of fault it can find, in the order of its kernels' words.
Status CudaDevice::linear(const LinearArgs& a) {
  return queue(L3V_STRUCT_LINEAR, linear_cuda, a, {}, linear_scratch(a, card_));
}
Status CudaDevice::embedding(const EmbeddingArgs& a) {
  return queue(L3V_STRUCT_EMBEDDING, embedding_cuda, a, {L3V_FAULT_TOKEN_ID});
}
Status CudaDevice::layer_norm(const LayerNormArgs& a) { return queue(L3V_STRUCT_LAYER_NORM, layer_norm_cuda, a); }
Status CudaDevice::rms_norm(const RmsNormArgs& a) { return queue(L3V_STRUCT_RMS_NORM, rms_norm_cuda, a); }
Status CudaDevice::patch_embed(const PatchEmbedArgs& a) {
  return queue(L3V_STRUCT_PATCH_EMBED, patch_embed_cuda, a, {}, patch_embed_scratch(a, card_));
}
Status CudaDevice::attention(const AttentionArgs& a) {
  return queue(L3V_STRUCT_ATTENTION, attention_cuda, a, {L3V_FAULT_OFFSETS});
}
// Right behind the rope of its keys the append becomes part of the rope's kernel: nothing can come
// between the two, the bits are those of the two kernels, and each item keeps its own fault words, which
// lie side by side as the kernel wants them. What the rope reads lies outside the cache, which another
// row's block may have written by then. Everything else that could be fused is an argument of its op
// (bias, activation, residual), but for a residual sum and the norm behind it: a norm needs whole rows,
// and the blocks of a product have tiles of them.
Status CudaDevice::cache_append(const CacheAppendArgs& a) {
  Item item{[=](const Queue& q) { cache_append_cuda(a, q); }, L3V_STRUCT_CACHE_APPEND, 0,
            {L3V_FAULT_OFFSETS, L3V_FAULT_POSITION, L3V_FAULT_PAGE}, {}};
  std::vector<Item>& items = list(item.kinds.size());
  if (card_.forms != Forms::kPlain && !items.empty() && items.back().rope) {
    const RopeArgs r = *items.back().rope;
    const auto in_cache = [&](const Matrix& m, const Matrix& cache) {
      const int64_t bytes = a.pages * a.page_size * cache.stride * (cache.dtype == L3V_F32 ? 4 : 2);
      return m.data >= cache.data && m.data < cache.data + bytes;
    };
    const bool apart = !in_cache(r.positions, a.k_cache) && !in_cache(r.positions, a.v_cache) &&
                       !in_cache(r.frequencies, a.k_cache) && !in_cache(r.frequencies, a.v_cache);
    if (apart && rope_append_fits(r, a)) {
      items.back().run = [=](const Queue& q) { rope_append_cuda(r, a, q); };
      item.run = [](const Queue&) {};
    }
  }
  return put(std::move(item));
}
Status CudaDevice::paged_attention(const PagedAttentionArgs& a) {
  return queue(L3V_STRUCT_PAGED_ATTENTION, paged_attention_cuda, a, {L3V_FAULT_OFFSETS, L3V_FAULT_POSITION, L3V_FAULT_PAGE},
               paged_attention_scratch(a, card_));
}
Status CudaDevice::rope(const RopeArgs& a) {
  return put({[=](const Queue& q) { rope_cuda(a, q); }, L3V_STRUCT_ROPE, 0, {L3V_FAULT_POSITION}, a});
}
Status CudaDevice::swiglu(const SwigluArgs& a) { return queue(L3V_STRUCT_SWIGLU, swiglu_cuda, a); }
Status CudaDevice::activation(const ActivationArgs& a) { return queue(L3V_STRUCT_ACTIVATION, activation_cuda, a); }
Status CudaDevice::copy_rows(const CopyRowsArgs& a) {
  return queue(L3V_STRUCT_COPY_ROWS, copy_rows_cuda, a, {L3V_FAULT_ROW_INDEX});
}
Status CudaDevice::softmax(const SoftmaxArgs& a) { return queue(L3V_STRUCT_SOFTMAX, softmax_cuda, a); }
Status CudaDevice::topk(const TopkArgs& a) { return queue(L3V_STRUCT_TOPK, topk_cuda, a, {L3V_FAULT_NOT_FINITE}); }
Status CudaDevice::advance(const AdvanceArgs& a) { return queue(L3V_STRUCT_ADVANCE, advance_cuda, a); }
Status CudaDevice::check_finite(const CheckFiniteArgs& a) {
  return queue(L3V_STRUCT_CHECK_FINITE, check_finite_cuda, a, {L3V_FAULT_NOT_FINITE}, 0, a.stage);
}
Status CudaDevice::penalize(const PenalizeArgs& a) {
  return queue(L3V_STRUCT_PENALIZE, penalize_cuda, a, {L3V_FAULT_SETTING});
}
Status CudaDevice::sample(const SampleArgs& a) {
  return queue(L3V_STRUCT_SAMPLE, sample_cuda, a, {L3V_FAULT_NOT_FINITE, L3V_FAULT_SETTING, L3V_FAULT_POSITION});
}
Status CudaDevice::log_prob(const LogProbArgs& a) {
  return queue(L3V_STRUCT_LOG_PROB, log_prob_cuda, a, {L3V_FAULT_TOKEN_ID, L3V_FAULT_NOT_FINITE});
}

}  // namespace l3v::cuda

namespace l3v {

using namespace cuda;

Status backend_probe(int32_t device, l3v_capabilities* out) {
  int driver = 0, runtime = 0, count = 0;
  if (Status s = failed(cudaDriverGetVersion(&driver), "cudaDriverGetVersion"); !s.ok()) return s;
  if (Status s = failed(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion"); !s.ok()) return s;
  if (driver == 0) return fail(L3V_UNSUPPORTED, "there is no NVIDIA driver on this machine");
  if (driver / 1000 < runtime / 1000)
    return fail(L3V_UNSUPPORTED, "the driver is for CUDA %d.%d, this library needs %d.%d", driver / 1000, driver % 1000 / 10,
                runtime / 1000, runtime % 1000 / 10);
  if (Status s = failed(cudaGetDeviceCount(&count), "cudaGetDeviceCount"); !s.ok()) return s;
  if (device >= count) return fail(L3V_UNSUPPORTED, "there is no cuda device %d: there are %d", device, count);
  cudaDeviceProp p{};
  if (Status s = failed(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties"); !s.ok()) return s;
  if (p.major < 8) return fail(L3V_UNSUPPORTED, "%s has compute capability %d.%d, this library needs 8.0", p.name, p.major, p.minor);
  if (Status s = make_current(device); !s.ok()) return s;
  size_t free = 0, total = 0;
  if (Status s = failed(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"); !s.ok()) return s;
  const auto types = [](auto... type) { return ((uint64_t{1} << type) | ...); };
  *out = {};
  out->struct_size = sizeof *out;
  out->flags = L3V_CAP_CAPTURE | L3V_CAP_BATCH_INVARIANT_MODE | L3V_CAP_BLOCKS_IN_HALF;
#if !defined(__CUDACC__) && defined(L3V_EMULATED)
  out->flags |= L3V_CAP_EMULATED;
#endif
  out->weight_types = types(L3V_F32, L3V_F16, L3V_BF16, L3V_Q4_0, L3V_Q4_1, L3V_Q5_0, L3V_Q5_1, L3V_Q8_0, L3V_Q2_K, L3V_Q3_K,
                            L3V_Q4_K, L3V_Q5_K, L3V_Q6_K, L3V_IQ4_NL, L3V_IQ4_XS);
  out->activation_types = types(L3V_F32, L3V_BF16);
  out->compute_types = types(L3V_F32, L3V_BF16, L3V_F16);
  out->memory_total = static_cast<int64_t>(total);
  out->memory_free = static_cast<int64_t>(free);
  out->max_head_dim = kMaxHeadDim;
  out->max_topk = kMaxTopk;
  out->cores = p.multiProcessorCount;
  out->cancel_latency_ms = kCancelLatencyMs;
  std::snprintf(out->name, sizeof out->name, "cuda");
  std::snprintf(out->device, sizeof out->device, "%.100s, %d.%d", p.name, p.major, p.minor);
  return {};
}

// The context's kernel set and what it has to know of the card.
static Status choose_card(const l3v_context_params& p, Card* out) {
  cudaDeviceProp card{};
  if (Status s = failed(cudaGetDeviceProperties(&card, p.device), "cudaGetDeviceProperties"); !s.ok()) return s;
  const std::string name = p.kernels;
  const Forms best = card.major == 9 ? Forms::kSm90 : Forms::kSm80;
  if (name.empty()) out->forms = best;
  else if (name == "plain") out->forms = Forms::kPlain;
  else if (name == "sm80") out->forms = Forms::kSm80;
  else if (name == "sm90" && best == Forms::kSm90) out->forms = Forms::kSm90;
  else return fail(L3V_UNSUPPORTED, "the cuda backend has no kernel set \"%s\" on %s", p.kernels, card.name);
  out->multiprocessors = card.multiProcessorCount;
  out->shared_bytes = static_cast<int32_t>(card.sharedMemPerBlockOptin);
  out->batch_invariant = (p.flags & L3V_CONTEXT_BATCH_INVARIANT) != 0;
  return {};
}

Status backend_create(const l3v_context_params& p, Ledger* ledger, std::unique_ptr<Device>* out) {
  Card card{};
  if (Status s = choose_card(p, &card); !s.ok()) return s;
  auto device = std::make_unique<CudaDevice>(p.device, card, ledger);
  if (Status s = device->open(); !s.ok()) return s;
  *out = std::move(device);
  return {};
}

}  // namespace l3v
