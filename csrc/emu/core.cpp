#include "core.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine.h"

// Saves the callee's registers on the running stack, *save = its top, and goes on at load.
extern "C" void l3v_emu_switch(void** save, void* load);
#if defined(__x86_64__)
asm(R"(
.text
.hidden l3v_emu_switch
.globl l3v_emu_switch
.type l3v_emu_switch, @function
l3v_emu_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size l3v_emu_switch, .-l3v_emu_switch
)");
constexpr size_t kSavedWords = 6;
#else
#error "the emulator switches stacks on x86-64 only"
#endif

namespace emu {

Options options;
Machine m;

std::string name_of(const Thread& t) {
  return "thread " + std::to_string(t.place.linear) + " (warp " + std::to_string(t.place.warp) + ", lane " +
         std::to_string(t.place.lane) + ")";
}

std::string name_of(Site s) {
  if (s.file == nullptr) return "an unknown place";
  const char* base = std::strrchr(s.file, '/');
  return std::string(base == nullptr ? s.file : base + 1) + ":" + std::to_string(s.line);
}

namespace {

uint64_t next_random() {  // xorshift64 (Marsaglia 2003)
  m.random ^= m.random << 13;
  m.random ^= m.random >> 7;
  m.random ^= m.random << 17;
  return m.random;
}

std::string block_name() {
  const Dim3& b = m.threads[0].place.block;
  return "block (" + std::to_string(b.x) + ", " + std::to_string(b.y) + ", " + std::to_string(b.z) + ")";
}

void note(const std::string& what) {
  if (m.error.empty()) m.error = std::string(m.launch->kernel) + ": " + what;
}

// What an engine did wrong, while the scheduler ran it.
struct EngineFailure {};

void to_scheduler() { l3v_emu_switch(&m.running->top, m.scheduler); }

void set_state(unsigned t, State state) {
  m.threads[t].state = state;
  const uint64_t bit = uint64_t{1} << t % 64;
  if (state == State::kReady) m.ready[t / 64] |= bit;
  else m.ready[t / 64] &= ~bit;
}

void thread_main() {
  m.launch->body();
  set_state(m.running->place.linear, State::kDone);
  m.done++;
  to_scheduler();
  std::abort();  // a thread that is done never runs
}

void prepare() {
  if (m.stacks != nullptr) return;
  void* p = mmap(nullptr, kStack * kMaxThreads, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw Error("the emulator has no memory for its threads");
  m.stacks = static_cast<char*>(p);
  prepare_memory();
}

void start(unsigned t, Dim3 block) {
  Thread& thread = m.threads[t];
  const Dim3 size = m.launch->block;
  thread.place = {Dim3(t % size.x, t / size.x % size.y, t / size.x / size.y),
                  block, size, m.launch->grid, t, t / kLanes, t % kLanes};
  set_state(t, State::kReady);
  thread.mask = 0;
  thread.held.clear();
  void** top = reinterpret_cast<void**>(m.stacks + size_t{t + 1} * kStack);
  *--top = nullptr;  // the frame that thread_main would return to
  *--top = reinterpret_cast<void*>(thread_main);
  for (size_t i = 0; i < kSavedWords; i++) *--top = nullptr;
  thread.top = top;
  m.ticks[t] = 1;
  m.row_phase[t] = 0xFFFF;
}

// The first ready thread at or behind begin, round about, or null.
Thread* ready_from(unsigned begin) {
  const unsigned words = (m.count + 63) / 64;
  for (unsigned i = 0; i <= words; i++) {
    const unsigned w = (begin / 64 + i) % words;
    uint64_t bits = m.ready[w];
    if (i == 0) bits &= ~uint64_t{0} << begin % 64;
    if (bits != 0) return &m.threads[w * 64 + static_cast<unsigned>(__builtin_ctzll(bits))];
  }
  return nullptr;
}

// The next thread that can run, or null.
Thread* pick() {
  switch (options.order) {
    case Order::kForward: return ready_from(0);
    case Order::kReverse:
      for (unsigned w = (m.count + 63) / 64; w-- > 0;)
        if (m.ready[w] != 0) return &m.threads[w * 64 + 63 - static_cast<unsigned>(__builtin_clzll(m.ready[w]))];
      return nullptr;
    case Order::kRandom: return ready_from(static_cast<unsigned>(next_random() % m.count));
    case Order::kWarps:
      if (next_random() % 64 == 0)
        for (size_t i = m.warp_order.size(); i > 1; i--)
          std::swap(m.warp_order[i - 1], m.warp_order[next_random() % i]);
      for (unsigned warp : m.warp_order) {
        const uint32_t bits = static_cast<uint32_t>(m.ready[warp / 2] >> warp % 2 * 32);
        if (bits != 0) return &m.threads[warp * kLanes + static_cast<unsigned>(__builtin_ctz(bits))];
      }
      return nullptr;
  }
  return nullptr;
}

// Whether it waits at a barrier or collective for a thread that has ended.
bool waits_for_the_ended(const Thread& t) {
  if (t.state == State::kBarrier) return m.done > 0;
  if (t.state != State::kCollective) return false;
  for (unsigned l = 0; l < kLanes; l++)
    if ((t.mask >> l & 1) != 0 && m.threads[t.place.warp * kLanes + l].state == State::kDone) return true;
  return false;
}

// Why nobody can run although not all are done: one thread of each place at which some wait.
std::string stuck() {
  bool divergence = false;
  std::vector<const Thread*> waiting;
  for (unsigned t = 0; t < m.count; t++) {
    const Thread& thread = m.threads[t];
    if (thread.state == State::kDone) continue;
    divergence = divergence || waits_for_the_ended(thread);
    const auto same = [&](const Thread* o) { return o->site.line == thread.site.line && o->site.file == thread.site.file; };
    if (std::none_of(waiting.begin(), waiting.end(), same)) waiting.push_back(&thread);
  }
  std::string text;
  for (const Thread* t : waiting) {
    text += (text.empty() ? "" : "; ") + name_of(*t) + " waits at " + name_of(t->site);
    if (t->state == State::kWaiting) text += " for " + t->wait.describe(t->wait.argument);
  }
  return (divergence ? "divergence: threads that are waited for have ended: " : "deadlock: ") + text;
}

// Lets an engine do one piece of its work, any: they keep no order.
void work_once() {
  const size_t i = next_random() % m.work.size();
  const std::function<void()> work = std::move(m.work[i]);
  m.work[i] = std::move(m.work.back());
  m.work.pop_back();
  work();
}

void run_threads() {
  while (m.done < m.count) {
    // In the orders that try things, an engine may be done early; in the others it is as late as can be.
    const bool early = options.order == Order::kRandom || options.order == Order::kWarps;
    if (early && !m.work.empty() && next_random() % 16 == 0) work_once();
    m.running = pick();
    if (m.running == nullptr && !m.work.empty()) {
      work_once();
      continue;
    }
    if (m.running == nullptr) {
      m.running = &m.threads[0];
      note(stuck() + ", in " + block_name());
      return;
    }
    l3v_emu_switch(&m.scheduler, m.running->top);
    m.running = nullptr;
    if (!m.error.empty()) return;
  }
  for (const BlockEnd end : m.block_ends) {
    const std::string wrong = end();
    if (!wrong.empty()) note(wrong + ", in " + block_name());
  }
}

void run_block(Dim3 block) {
  m.run++;
  m.phase = 0;
  m.at_barrier = m.done = 0;
  m.work.clear();
  std::fill(std::begin(m.arrived), std::end(m.arrived), 0);
  std::fill(m.engines_base.begin(), m.engines_base.end(), 0);
  std::fill(m.fenced_base.begin(), m.fenced_base.end(), 0);
  forget_readers();
  std::memset(m.shared->begin, 0xFF, m.launch->shared);
  for (unsigned t = 0; t < m.count; t++) start(t, block);
  m.warp_order.resize((m.count + kLanes - 1) / kLanes);
  for (unsigned w = 0; w < m.warp_order.size(); w++) m.warp_order[w] = w;
  m.running = nullptr;
  try {
    run_threads();
  } catch (const EngineFailure&) {
  }
  m.running = nullptr;
}

}  // namespace

const Place& place() { return m.running->place; }
char* shared_memory() { return m.shared->begin; }
uint32_t block_number() { return m.run; }
unsigned block_threads() { return m.count; }
uint64_t random_number() { return next_random(); }
const Place& place_of(unsigned thread) { return m.threads[thread].place; }
bool has_ended(unsigned thread) { return m.threads[thread].state == State::kDone; }
void later(std::function<void()> work) { m.work.push_back(std::move(work)); }
void at_block_end(BlockEnd end) {
  if (std::find(m.block_ends.begin(), m.block_ends.end(), end) == m.block_ends.end()) m.block_ends.push_back(end);
}

void fail(const std::string& what, Site site) {
  std::string text = what;
  if (site.file != nullptr) text += " at " + name_of(site);
  if (m.running == nullptr) {
    note(text + ", in " + block_name());
    throw EngineFailure();
  }
  note(text + ", " + name_of(*m.running) + " of " + block_name());
  set_state(m.running->place.linear, State::kDone);
  to_scheduler();
  std::abort();
}

void run(const Launch& launch) {
  prepare();
  const uint64_t threads = launch.block.count(), blocks = launch.grid.count();
  if (threads == 0 || threads > kMaxThreads || blocks == 0 || blocks > UINT32_MAX)
    throw Error(std::string(launch.kernel) + ": " + std::to_string(blocks) + " blocks of " +
                std::to_string(threads) + " threads");
  if (launch.shared > kMaxShared)
    throw Error(std::string(launch.kernel) + ": " + std::to_string(launch.shared) + " bytes of shared memory");
  m.counts[launch.kernel]++;
  m.launch = &launch;
  m.count = static_cast<unsigned>(threads);
  m.stride = m.count + kEngines;
  if (m.seen.size() < m.count * m.stride) m.seen.resize(m.count * m.stride);
  m.row_phase.resize(kMaxThreads);
  m.engines_base.assign(kEngines, 0);
  m.fenced_base.assign(m.count, 0);
  m.fences = m.fine_order = false;
  std::fill(std::begin(m.ready), std::end(m.ready), 0);
  m.error.clear();
  m.random = options.seed * 0x9E3779B97F4A7C15ull | 1;
  if (m.run > UINT32_MAX - blocks - 2) throw Error("the emulator has run more blocks than it can tell apart");
  m.first_run = m.run + 1;
  std::vector<uint32_t> order(static_cast<size_t>(blocks));
  for (size_t i = 0; i < order.size(); i++) order[i] = static_cast<uint32_t>(i);
  if (options.order == Order::kReverse) std::reverse(order.begin(), order.end());
  if (options.order == Order::kRandom || options.order == Order::kWarps)
    for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[next_random() % i]);
  const Dim3 grid = launch.grid;
  for (uint32_t b : order) {
    run_block(Dim3(b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y));
    if (!m.error.empty()) break;
  }
  m.launch = nullptr;
  m.first_run = m.run + 1;  // what the host does next is behind all of it
  if (!m.error.empty()) throw Error(m.error);
}

int64_t launches(const char* kernel) {
  auto it = m.counts.find(kernel);
  return it == m.counts.end() ? 0 : it->second;
}

// ---- Clocks. -------------------------------------------------------------------------------

uint32_t* seen_row(unsigned t) {
  uint32_t* row = &m.seen[t * m.stride];
  if (m.row_phase[t] != m.phase) {
    std::fill(row, row + m.count, 0);
    std::copy(m.engines_base.begin(), m.engines_base.end(), row + m.count);
    if (m.fences) std::copy(m.fenced_base.begin(), m.fenced_base.end(), &m.fenced[size_t{t} * m.count]);
    m.row_phase[t] = m.phase;
  }
  return row;
}

uint64_t* fenced_row(unsigned t) {
  if (!m.fences) return nullptr;
  seen_row(t);
  return &m.fenced[size_t{t} * m.count];
}

namespace {

// Fences as a phase and a tick in it.
uint64_t moment(uint32_t tick) { return uint64_t{m.phase} << 32 | tick; }

template <class T>
void raise(T* a, const T* b, size_t n) {
  for (size_t i = 0; i < n; i++) a[i] = std::max(a[i], b[i]);
}

// Of an older phase: all its threads are seen.
void refresh(Clock* c) {
  if (c->seen.size() != m.stride) {
    c->seen.assign(m.stride, 0);
    c->fenced.clear();
  } else if (c->phase != m.phase) {
    std::fill_n(c->seen.begin(), m.count, 0);
  }
  c->phase = m.phase;
}

void next_phase() {
  for (unsigned t = 0; t < m.count; t++) {
    if (m.row_phase[t] != m.phase) continue;  // it has met nobody
    raise(m.engines_base.data(), &m.seen[t * m.stride] + m.count, kEngines);
    if (m.fences) raise(m.fenced_base.data(), &m.fenced[size_t{t} * m.count], m.count);
  }
  m.phase++;
}

}  // namespace

void release(Clock* into, unsigned t) {
  m.fine_order = true;
  refresh(into);
  m.versions[t]++;
  raise(into->seen.data(), seen_row(t), m.stride);
  into->seen[t] = ++m.ticks[t];
  if (m.fences) {
    into->fenced.resize(m.count);
    raise(into->fenced.data(), fenced_row(t), m.count);
  }
}

void acquire(const Clock& from, unsigned t) {
  uint32_t* row = seen_row(t);
  m.versions[t]++;
  if (from.seen.size() != m.stride) return;
  raise(row + m.count, from.seen.data() + m.count, kEngines);
  if (from.phase == m.phase) raise(row, from.seen.data(), m.count);
  if (m.fences && from.fenced.size() == m.count) raise(fenced_row(t), from.fenced.data(), m.count);
}

void see(unsigned t, unsigned engine, uint32_t ticks) {
  uint32_t& column = seen_row(t)[m.count + engine];
  column = std::max(column, ticks);
  m.versions[t]++;
}

void fence(unsigned t) {
  if (!m.fences) {
    m.fences = true;
    m.fenced.assign(size_t{m.count} * m.count, 0);
  }
  m.versions[t]++;
  const uint32_t* seen = seen_row(t);
  uint64_t* row = fenced_row(t);
  for (unsigned o = 0; o < m.count; o++) row[o] = std::max(row[o], moment(seen[o]));
  row[t] = moment(++m.ticks[t]);
}

Clock snapshot(unsigned first, unsigned count) {
  Clock c;
  c.phase = m.phase;
  c.seen.assign(m.stride, ~0u);
  c.fenced.assign(m.count, m.fences ? ~uint64_t{0} : 0);
  for (unsigned t = first; t < first + count; t++) {
    uint32_t* seen = seen_row(t);
    seen[t] = ++m.ticks[t];  // all of its own
    for (size_t i = 0; i < m.stride; i++) c.seen[i] = std::min(c.seen[i], seen[i]);
    const uint64_t* fenced = fenced_row(t);
    for (size_t i = 0; fenced != nullptr && i < m.count; i++) c.fenced[i] = std::min(c.fenced[i], fenced[i]);
  }
  return c;
}

uint64_t clock_version(unsigned first, unsigned count) {
  uint64_t sum = m.phase;
  for (unsigned t = first; t < first + count; t++) sum += m.versions[t];
  return sum;
}

void intersect(Clock* with, const Clock& other) {
  if (with->phase > other.phase) {  // the older has seen less
    std::copy_n(other.seen.begin(), m.count, with->seen.begin());
    with->phase = other.phase;
  } else if (with->phase == other.phase) {
    for (unsigned i = 0; i < m.count; i++) with->seen[i] = std::min(with->seen[i], other.seen[i]);
  }
  for (size_t i = m.count; i < m.stride; i++) with->seen[i] = std::min(with->seen[i], other.seen[i]);
  for (size_t i = 0; i < m.count; i++) with->fenced[i] = std::min(with->fenced[i], other.fenced[i]);
}

// ---- Barriers, collectives, waits. -----------------------------------------------------------

void barrier(Site site) {
  Thread& me = *m.running;
  for (unsigned t = 0; t < m.count; t++) {
    const Thread& other = m.threads[t];
    if (other.state == State::kBarrier && (other.site.line != site.line || other.site.file != site.file))
      fail("divergence: a barrier, while " + name_of(other) + " waits at the one of " + name_of(other.site), site);
    if (other.state == State::kBarrier) break;  // all that wait, wait at one place
  }
  if (m.done > 0) fail("divergence: a barrier, and other threads of the block have ended", site);
  me.site = site;
  if (++m.at_barrier < m.count) {
    set_state(me.place.linear, State::kBarrier);
    to_scheduler();
    return;
  }
  m.at_barrier = 0;
  if (m.phase == 0xFFFE) fail("more barriers in one block than the emulator can count", site);
  next_phase();
  for (unsigned t = 0; t < m.count; t++)
    if (m.threads[t].state == State::kBarrier) set_state(t, State::kReady);
}

void collective(const char* name, unsigned mask, const void* in, void* out, Act act, const void* argument,
                bool ordered, Site site) {
  Thread& me = *m.running;
  const unsigned warp = me.place.warp, first = warp * kLanes, here = std::min(kLanes, m.count - first);
  if ((mask >> me.place.lane & 1) == 0) fail(std::string(name) + ": the lane is not in its own mask", site);
  if (here < kLanes && mask >> here != 0) {
    if (mask == ~0u) mask = (1u << here) - 1;  // the last warp of a block that is no multiple of 32
    else fail(std::string(name) + ": the mask names lanes that the block does not have", site);
  }
  me.site = site;
  me.name = name;
  me.mask = mask;
  me.lane = {in, out, site};
  if (const uint32_t others = m.arrived[warp] & mask) {
    const Thread& t = m.threads[first + static_cast<unsigned>(__builtin_ctz(others))];
    if (t.name != name || t.mask != mask || t.site.line != site.line)
      fail(std::string("divergence: ") + name + ", while " + name_of(t) + " is in " + t.name + " of " +
               name_of(t.site), site);
  }
  m.arrived[warp] |= 1u << me.place.lane;
  if ((m.arrived[warp] & mask) != mask) {
    for (uint32_t missing = mask & ~m.arrived[warp]; missing != 0; missing &= missing - 1) {
      const Thread& t = m.threads[first + static_cast<unsigned>(__builtin_ctz(missing))];
      if (t.state == State::kDone) fail(std::string(name) + ": " + name_of(t) + " of the mask has ended", site);
      if (t.state == State::kBarrier)
        fail(std::string(name) + ": " + name_of(t) + " of the mask waits at the barrier of " + name_of(t.site), site);
    }
    set_state(me.place.linear, State::kCollective);
    to_scheduler();
    return;
  }
  m.arrived[warp] &= ~mask;
  Lane* lanes[kLanes] = {};
  for (unsigned l = 0; l < here; l++)
    if ((mask >> l & 1) != 0) lanes[l] = &m.threads[first + l].lane;
  if (act != nullptr) act(lanes, argument);
  if (ordered) {
    static Clock all;
    all.seen.clear();
    for (unsigned l = 0; l < here; l++)
      if (lanes[l] != nullptr) release(&all, first + l);
    for (unsigned l = 0; l < here; l++)
      if (lanes[l] != nullptr) acquire(all, first + l);
  }
  for (unsigned l = 0; l < here; l++)
    if (lanes[l] != nullptr) set_state(first + l, State::kReady);
}

void wait_until(const Wait& wait, Site site) {
  Thread& me = *m.running;
  while (!wait.ready(wait.argument)) {
    me.site = site;
    me.wait = wait;
    set_state(me.place.linear, State::kWaiting);
    to_scheduler();
  }
}

void wake(const void* key) {
  for (unsigned t = 0; t < m.count; t++)
    if (m.threads[t].state == State::kWaiting && m.threads[t].wait.key == key) set_state(t, State::kReady);
}

}  // namespace emu
