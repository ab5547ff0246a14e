#include "core.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

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

namespace {

constexpr size_t kStack = 128 << 10;

enum class State : uint8_t { kReady, kBarrier, kCollective, kDone };

struct Thread {
  void* top = nullptr;  // of its stack, while it does not run
  Place place;
  State state = State::kDone;
  Site site;            // of what it waits at
  const char* name = nullptr;
  unsigned mask = 0;
  Lane lane{};
};

// When an access was made. run counts blocks over all launches, phase the barriers of a block, tick
// the releases of a thread.
struct Stamp {
  uint32_t run = 0;
  uint16_t phase = 0;
  uint16_t thread = 0;
  uint32_t tick = 0;
};
constexpr uint16_t kHost = 0xFFFF;
constexpr uint32_t kHostRun = 1;

// Two bytes, and which of them the newest write and read touched: of single bytes side by side the
// newest alone is known.
struct Cell {
  Stamp write, read;
  uint8_t write_bytes = 0, read_bytes = 0;  // bit 0 and 1
  bool written = false;
  bool many = false;  // more than one thread read in this phase
  bool write_atomic = false;
};
constexpr size_t kGrain = 2;
constexpr size_t kRed = 4096;

struct Region {
  char *begin, *end;
  bool shared;
  std::vector<Cell> cells;
};

struct Machine {
  std::map<const char*, std::unique_ptr<Region>> regions;  // by begin
  Region* last = nullptr;                                  // found last
  size_t allocated = 0;

  char* stacks = nullptr;
  Region* shared = nullptr;
  Thread threads[kMaxThreads];
  std::vector<uint32_t> clocks;       // [thread][thread]: the ticks that one has seen of another
  std::vector<uint16_t> clock_phase;  // of which a row is; an older one counts as zeros
  uint32_t ticks[kMaxThreads];
  bool fine_order = false;            // the block used an ordered collective
  std::unordered_map<std::string, int64_t> counts;

  const Launch* launch = nullptr;
  Thread* running = nullptr;
  void* scheduler = nullptr;
  unsigned count = 0;  // threads of a block
  uint32_t run = kHostRun, first_run = kHostRun;
  uint16_t phase = 0;
  unsigned at_barrier = 0, done = 0;
  uint64_t random = 1;
  std::vector<unsigned> warp_order;
  std::string error;
};
Machine m;

uint64_t next_random() {  // xorshift64 (Marsaglia 2003)
  m.random ^= m.random << 13;
  m.random ^= m.random >> 7;
  m.random ^= m.random << 17;
  return m.random;
}

std::string name_of(const Thread& t) {
  return "thread " + std::to_string(t.place.linear) + " (warp " + std::to_string(t.place.warp) + ", lane " +
         std::to_string(t.place.lane) + ")";
}

std::string name_of(Site s) {
  if (s.file == nullptr) return "an unknown place";
  const char* base = std::strrchr(s.file, '/');
  return std::string(base == nullptr ? s.file : base + 1) + ":" + std::to_string(s.line);
}

std::string block_name() {
  const Dim3& b = m.threads[0].place.block;
  return "block (" + std::to_string(b.x) + ", " + std::to_string(b.y) + ", " + std::to_string(b.z) + ")";
}

void note(const std::string& what) {
  if (m.error.empty()) m.error = std::string(m.launch->kernel) + ": " + what;
}

void to_scheduler() { l3v_emu_switch(&m.running->top, m.scheduler); }

void thread_main() {
  m.launch->body();
  m.running->state = State::kDone;
  m.done++;
  to_scheduler();
  std::abort();  // a thread that is done never runs
}

uint32_t* clock_row(unsigned t) {
  uint32_t* row = &m.clocks[size_t{t} * kMaxThreads];
  if (m.clock_phase[t] != m.phase) {
    std::fill(row, row + m.count, 0);
    m.clock_phase[t] = m.phase;
  }
  return row;
}

// Whether the thread that runs has seen the access behind a stamp of its own block.
bool seen(const Stamp& s) {
  const unsigned me = m.running->place.linear;
  if (s.phase != m.phase || s.thread == me) return true;
  return s.tick < clock_row(me)[s.thread];
}

// Whether an access that was recorded may happen at once with one of now.
bool races(const Stamp& s, bool shared) {
  if (s.run < m.first_run) return false;  // an earlier launch, or the host
  if (s.run != m.run) return !shared;     // another block of this launch
  return !seen(s);
}

Region* find(const char* p) {
  if (m.last != nullptr && p >= m.last->begin && p < m.last->end) return m.last;
  auto it = m.regions.upper_bound(p);
  if (it == m.regions.begin()) return nullptr;
  Region* r = std::prev(it)->second.get();
  return p < r->end ? m.last = r : nullptr;
}

// The region whose red zone p lies in.
Region* beside(const char* p) {
  auto it = m.regions.upper_bound(p);
  if (it != m.regions.end() && p + kRed >= it->second->begin) return it->second.get();
  if (it == m.regions.begin()) return nullptr;
  Region* r = std::prev(it)->second.get();
  return p < r->end + kRed ? r : nullptr;
}

std::string where(const Region& r, const char* p, size_t bytes, bool write) {
  return std::string(write ? "write" : "read") + " of " + std::to_string(bytes) + " bytes at byte " +
         std::to_string(p - r.begin) + " of " + (r.shared ? "shared memory" : "an allocation") + " of " +
         std::to_string(r.shared ? m.launch->shared : static_cast<size_t>(r.end - r.begin)) + " bytes";
}

std::string at(const void* pc) {
  char text[32];
  std::snprintf(text, sizeof text, ", code %p", pc);
  return text;
}

Region* add(char* p, size_t bytes, bool shared) {
  auto r = std::make_unique<Region>();
  r->begin = p;
  r->end = p + bytes;
  r->shared = shared;
  r->cells.resize((bytes + kGrain - 1) / kGrain);
  return (m.regions[p] = std::move(r)).get();
}

void prepare() {
  if (m.stacks != nullptr) return;
  void* p = mmap(nullptr, kStack * kMaxThreads, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  char* shared = static_cast<char*>(std::aligned_alloc(1024, (kMaxShared + 2 * kRed + 1023) / 1024 * 1024));
  if (p == MAP_FAILED || shared == nullptr) throw Error("the emulator has no memory for its threads");
  m.stacks = static_cast<char*>(p);
  m.shared = add(shared + kRed, kMaxShared, true);
  m.clocks.resize(size_t{kMaxThreads} * kMaxThreads);
  m.clock_phase.resize(kMaxThreads);
}

void start(unsigned t, Dim3 block) {
  Thread& thread = m.threads[t];
  const Dim3 size = m.launch->block;
  thread.place = {Dim3(t % size.x, t / size.x % size.y, t / size.x / size.y),
                  block, size, m.launch->grid, t, t / kLanes, t % kLanes};
  thread.state = State::kReady;
  thread.mask = 0;
  void** top = reinterpret_cast<void**>(m.stacks + size_t{t + 1} * kStack);
  *--top = nullptr;  // the frame that thread_main would return to
  *--top = reinterpret_cast<void*>(thread_main);
  for (size_t i = 0; i < kSavedWords; i++) *--top = nullptr;
  thread.top = top;
  m.ticks[t] = 1;
  m.clock_phase[t] = 0xFFFF;
}

// The next thread that can run, or null.
Thread* pick() {
  const unsigned n = m.count;
  const auto ready = [](unsigned t) { return m.threads[t].state == State::kReady ? &m.threads[t] : nullptr; };
  switch (options.order) {
    case Order::kForward:
      for (unsigned t = 0; t < n; t++)
        if (Thread* found = ready(t)) return found;
      return nullptr;
    case Order::kReverse:
      for (unsigned t = n; t-- > 0;)
        if (Thread* found = ready(t)) return found;
      return nullptr;
    case Order::kRandom: {
      const unsigned begin = static_cast<unsigned>(next_random() % n);
      for (unsigned i = 0; i < n; i++)
        if (Thread* found = ready((begin + i) % n)) return found;
      return nullptr;
    }
    case Order::kWarps:
      if (next_random() % 64 == 0)
        for (size_t i = m.warp_order.size(); i > 1; i--)
          std::swap(m.warp_order[i - 1], m.warp_order[next_random() % i]);
      for (unsigned warp : m.warp_order)
        for (unsigned lane = 0; lane < kLanes && warp * kLanes + lane < n; lane++)
          if (Thread* found = ready(warp * kLanes + lane)) return found;
      return nullptr;
  }
  return nullptr;
}

// Why nobody can run although not all are done.
std::string stuck() {
  const Thread* waiting = nullptr;
  const Thread* gone = nullptr;
  for (unsigned t = 0; t < m.count; t++) {
    const Thread& thread = m.threads[t];
    if (thread.state == State::kDone) gone = &thread;
    else if (waiting == nullptr || thread.state == State::kBarrier) waiting = &thread;
  }
  std::string text = name_of(*waiting) + " waits at " + name_of(waiting->site);
  if (gone != nullptr) return "divergence: " + text + ", and " + name_of(*gone) + " has ended";
  return "deadlock: " + text;
}

void run_block(Dim3 block) {
  m.run++;
  m.phase = 0;
  m.at_barrier = m.done = 0;
  m.fine_order = false;
  std::memset(m.shared->begin, 0xFF, m.launch->shared);
  for (unsigned t = 0; t < m.count; t++) start(t, block);
  m.warp_order.resize((m.count + kLanes - 1) / kLanes);
  for (unsigned w = 0; w < m.warp_order.size(); w++) m.warp_order[w] = w;
  while (m.done < m.count) {
    m.running = pick();
    if (m.running == nullptr) {
      m.running = &m.threads[0];
      note(stuck() + ", in " + block_name());
      break;
    }
    l3v_emu_switch(&m.scheduler, m.running->top);
    if (!m.error.empty()) break;
  }
  m.running = nullptr;
}

}  // namespace

const Place& place() { return m.running->place; }
char* shared_memory() { return m.shared->begin; }

void fail(const std::string& what, Site site) {
  std::string text = what;
  if (site.file != nullptr) text += " at " + name_of(site);
  note(text + ", " + name_of(*m.running) + " of " + block_name());
  m.running->state = State::kDone;
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
    me.state = State::kBarrier;
    to_scheduler();
    return;
  }
  m.at_barrier = 0;
  if (m.phase == 0xFFFE) fail("more barriers in one block than the emulator can count", site);
  m.phase++;
  for (unsigned t = 0; t < m.count; t++)
    if (m.threads[t].state == State::kBarrier) m.threads[t].state = State::kReady;
}

void collective(const char* name, unsigned mask, const void* in, void* out, Act act, const void* argument,
                bool ordered, Site site) {
  Thread& me = *m.running;
  const unsigned first = me.place.warp * kLanes, here = std::min(kLanes, m.count - first);
  if ((mask >> me.place.lane & 1) == 0) fail(std::string(name) + ": the lane is not in its own mask", site);
  if (here < kLanes && mask >> here != 0) {
    if (mask == ~0u) mask = (1u << here) - 1;  // the last warp of a block that is no multiple of 32
    else fail(std::string(name) + ": the mask names lanes that the block does not have", site);
  }
  me.site = site;
  me.name = name;
  me.mask = mask;
  me.lane = {in, out, site};
  me.state = State::kCollective;
  Lane* lanes[kLanes] = {};
  for (unsigned l = 0; l < here; l++) {
    if ((mask >> l & 1) == 0) continue;
    Thread& t = m.threads[first + l];
    if (t.state == State::kDone) fail(std::string(name) + ": " + name_of(t) + " of the mask has ended", site);
    if (t.state == State::kBarrier)
      fail(std::string(name) + ": " + name_of(t) + " of the mask waits at the barrier of " + name_of(t.site), site);
    if (t.state != State::kCollective) {  // still on its way
      to_scheduler();
      return;
    }
    if (t.name != name || t.mask != mask || t.site.line != site.line)
      fail(std::string("divergence: ") + name + ", while " + name_of(t) + " is in " + t.name + " of " +
               name_of(t.site), site);
    lanes[l] = &t.lane;
  }
  if (act != nullptr) act(lanes, argument);
  if (ordered) {
    m.fine_order = true;
    uint32_t joined[kMaxThreads] = {};
    for (unsigned l = 0; l < here; l++) {
      if (lanes[l] == nullptr) continue;
      const uint32_t* row = clock_row(first + l);
      for (unsigned t = 0; t < m.count; t++) joined[t] = std::max(joined[t], row[t]);
      joined[first + l] = ++m.ticks[first + l];
    }
    for (unsigned l = 0; l < here; l++)
      if (lanes[l] != nullptr) std::copy(joined, joined + m.count, clock_row(first + l));
  }
  for (unsigned l = 0; l < here; l++)
    if (lanes[l] != nullptr) m.threads[first + l].state = State::kReady;
}

void* allocate(size_t bytes) {
  const size_t whole = (bytes + 2 * kRed + 255) / 256 * 256;
  char* p = static_cast<char*>(std::aligned_alloc(256, whole));
  if (p == nullptr) return nullptr;
  std::memset(p, 0xFF, whole);
  add(p + kRed, bytes, false);
  m.allocated += bytes;
  return p + kRed;
}

bool release(void* p) {
  auto it = m.regions.find(static_cast<const char*>(p));
  if (it == m.regions.end()) return false;
  m.allocated -= static_cast<size_t>(it->second->end - it->second->begin);
  m.last = nullptr;
  m.regions.erase(it);
  std::free(static_cast<char*>(p) - kRed);
  return true;
}

bool contains(const void* p, size_t bytes) {
  const char* begin = static_cast<const char*>(p);
  const Region* r = find(begin);
  return r != nullptr && bytes <= static_cast<size_t>(r->end - begin);
}

void written(const void* p, size_t bytes) {
  const char* begin = static_cast<const char*>(p);
  Region* r = find(begin);
  if (r == nullptr) return;
  const size_t offset = static_cast<size_t>(begin - r->begin);
  for (size_t i = offset / kGrain; i <= (offset + bytes - 1) / kGrain; i++) {
    Cell& c = r->cells[i];
    c.write = {kHostRun, 0, kHost, 0};
    c.write_bytes = 3;
    c.written = true;
  }
}

size_t allocated() { return m.allocated; }

void access(const void* address, size_t bytes, bool write, bool atomic, const void* pc) {
  if (m.running == nullptr || !options.check) return;
  const char* p = static_cast<const char*>(address);
  Region* r = find(p);
  if (r == nullptr) {
    const char* stack = m.stacks + size_t{m.running->place.linear} * kStack;
    if (p >= stack && p < stack + kStack) return;
    if (p >= m.stacks && p < m.stacks + kStack * kMaxThreads)
      fail("bounds: memory of another thread" + at(pc));
    if (Region* near = beside(p)) fail("bounds: " + where(*near, p, bytes, write) + at(pc));
    return;  // constants, and the arguments of the launch
  }
  const size_t end = r->shared ? m.launch->shared : static_cast<size_t>(r->end - r->begin);
  if (static_cast<size_t>(p - r->begin) + bytes > end) fail("bounds: " + where(*r, p, bytes, write) + at(pc));
  if ((bytes & (bytes - 1)) == 0 && reinterpret_cast<uintptr_t>(p) % bytes != 0)
    fail("alignment: " + where(*r, p, bytes, write) + at(pc));
  const uint16_t me = static_cast<uint16_t>(m.running->place.linear);
  const Stamp now{m.run, m.phase, me, m.ticks[me]};
  const size_t first = static_cast<size_t>(p - r->begin) / kGrain;
  const size_t last = (static_cast<size_t>(p - r->begin) + bytes - 1) / kGrain;
  for (size_t i = first; i <= last; i++) {
    Cell& c = r->cells[i];
    const uint8_t touched = bytes > 1 ? 3 : static_cast<uint8_t>(1 << (p - r->begin) % 2);
    const bool initialised = c.written && (!r->shared || c.write.run == m.run);
    if (!write && !initialised) fail("uninitialised: " + where(*r, p, bytes, write) + at(pc));
    if (initialised && (touched & c.write_bytes) != 0 && !(atomic && c.write_atomic) && races(c.write, r->shared))
      fail("race: " + where(*r, p, bytes, write) + ", written by thread " + std::to_string(c.write.thread) +
           (c.write.run == m.run ? "" : " of another block") + at(pc));
    if (write && c.read.run != 0 && (touched & c.read_bytes) != 0 && !atomic) {
      const bool reader_races = c.many && c.read.run == m.run && c.read.phase == m.phase
                                    ? !m.fine_order  // who all read is not known
                                    : races(c.read, r->shared);
      if (reader_races)
        fail("race: " + where(*r, p, bytes, write) + ", read by thread " + std::to_string(c.read.thread) +
             (c.read.run == m.run ? "" : " of another block") + at(pc));
    }
    if (write) {
      c.write = now;
      c.write_bytes = touched;
      c.written = true;
      c.write_atomic = atomic;
    } else {
      const bool same_phase = c.read.run == m.run && c.read.phase == m.phase;
      c.many = same_phase && (c.many || c.read.thread != me);
      c.read_bytes = same_phase ? c.read_bytes | touched : touched;
      c.read = now;
    }
  }
}

}  // namespace emu
