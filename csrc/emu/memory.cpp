// memory.cpp: device memory and its shadow: who touched which bytes last, and whether that was in
// order.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "machine.h"

namespace emu {
namespace {

Region* find(const char* p) {
  if (p >= m.shared->begin && p < m.shared->end) return m.shared;
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

Region* add(char* p, size_t bytes, bool shared) {
  auto r = std::make_unique<Region>();
  r->begin = p;
  r->end = p + bytes;
  r->shared = shared;
  r->cells.resize((bytes + kGrain - 1) / kGrain);
  return (m.regions[p] = std::move(r)).get();
}

// One access: who, where it stands in the source, and what it may count on.
struct Access {
  const char* p;
  size_t bytes;
  bool write, atomic, engine;
  unsigned self;         // the thread, whose own accesses are before it; ~0u: what clock says
  uint16_t phase;
  const uint32_t* seen;  // [m.stride]
  const uint64_t* fenced;
  Stamp stamp;
  const char* name;      // null: a load or store of the code at pc
  Site site;
  const void* pc;
};

size_t end_of(const Region& r) { return r.shared ? m.launch->shared : static_cast<size_t>(r.end - r.begin); }

[[noreturn]] void report(const Access& a, const Region& r, const std::string& kind, const std::string& rest) {
  std::string text = kind + ": ";
  if (a.name != nullptr) text += std::string(a.name) + ": ";
  text += std::string(a.write ? "write" : "read") + " of " + std::to_string(a.bytes) + " bytes at byte " +
          std::to_string(a.p - r.begin) + " of " + (r.shared ? "shared memory" : "an allocation") + " of " +
          std::to_string(end_of(r)) + " bytes" + rest;
  if (a.name == nullptr) {
    char code[32];
    std::snprintf(code, sizeof code, ", code %p", a.pc);
    text += code;
  }
  fail(text, a.site);
}

std::string name_of(const Stamp& s) {
  if (s.who == kHost) return "the host";
  std::string name = s.who < kMaxThreads ? "thread " + std::to_string(s.who) : "an engine";
  return s.run == m.run ? name : name + " of another block";
}

bool seen(const Access& a, uint16_t who, uint16_t phase, uint32_t tick) {
  if (who >= kMaxThreads) return tick < a.seen[m.count + who - kMaxThreads];
  if (who == a.self || phase < a.phase) return true;
  return phase == a.phase && tick < a.seen[who];
}
bool seen(const Access& a, const Stamp& s) { return seen(a, s.who, s.phase, s.tick); }

// Whether an access that was recorded may happen at once with this one.
bool races(const Access& a, const Stamp& s, bool shared) {
  if (s.run < m.first_run) return false;  // an earlier launch, or the host
  if (s.run != m.run) return !shared;     // another block of this launch
  return !seen(a, s);
}

// Whether an engine's access lies behind a fence of a thread's write.
bool fenced(const Access& a, const Stamp& s) {
  if (s.run != m.run || s.who >= kMaxThreads) return true;
  return a.fenced != nullptr && (uint64_t{s.phase} << 32 | s.tick) < a.fenced[s.who];
}

uint32_t new_readers() {
  if (!m.free_readers.empty()) {
    const uint32_t set = m.free_readers.back();
    m.free_readers.pop_back();
    return set;
  }
  const size_t set = std::max<size_t>(1, m.readers.size() / m.readers_stride());
  m.readers.resize((set + 1) * m.readers_stride());
  return static_cast<uint32_t>(set);
}

uint32_t* readers_of(uint32_t set) { return &m.readers[set * m.readers_stride()]; }

void add_reader(uint32_t set, uint16_t who, uint32_t tick) {
  uint32_t* readers = readers_of(set);
  const uint32_t at = who < kMaxThreads ? who : m.count + who - kMaxThreads;
  uint32_t& ticks = readers[1 + m.stride + at];
  if (ticks == 0) readers[1 + readers[0]++] = at;
  ticks = tick + 1;
}

void free_readers(uint32_t set) {
  uint32_t* readers = readers_of(set);
  for (uint32_t i = 0; i < readers[0]; i++) readers[1 + m.stride + readers[1 + i]] = 0;
  readers[0] = 0;
  m.free_readers.push_back(set);
}

// Of the many readers of a cell in this phase, one that may read still; or -1.
int unseen_reader(const Access& a, const Cell& c) {
  const uint32_t* readers = readers_of(c.readers);
  for (uint32_t i = 0; i < readers[0]; i++) {
    const uint32_t at = readers[1 + i];
    const uint16_t who = static_cast<uint16_t>(at < m.count ? at : kMaxThreads + at - m.count);
    if (!seen(a, who, c.read.phase, readers[1 + m.stride + at] - 1)) return static_cast<int>(at);
  }
  return -1;
}

void check_write_after_read(const Access& a, const Region& r, Cell& c) {
  const bool now = c.read.run == m.run && c.read.phase == a.phase;
  if (c.many && now && c.readers != 0) {
    const int who = unseen_reader(a, c);
    if (who >= 0)
      report(a, r, "race", ", read by " + (who < static_cast<int>(m.count) ? "thread " + std::to_string(who) : std::string("an engine")));
    free_readers(c.readers);
    c.readers = 0;
    return;
  }
  if (c.many && now ? !m.fine_order : races(a, c.read, r.shared))  // who all read is not known
    report(a, r, "race", ", read by " + name_of(c.read));
}

void record_read(const Access& a, const Region& r, Cell& c, uint8_t touched) {
  const bool now = c.read.run == m.run && c.read.phase == a.stamp.phase;
  if (!now) {
    if (c.readers != 0 && c.read.run == m.run) free_readers(c.readers);
    c.many = false;
    c.readers = 0;
  } else if (c.many || c.read.who != a.stamp.who) {
    if (!c.many && r.shared && m.fine_order) {
      c.readers = new_readers();
      add_reader(c.readers, c.read.who, c.read.tick);
    }
    c.many = true;
    if (c.readers != 0) add_reader(c.readers, a.stamp.who, a.stamp.tick);
  }
  c.read_bytes = now ? c.read_bytes | touched : touched;
  c.read = a.stamp;
}

void check(const Access& a, Region& r) {
  const size_t begin = static_cast<size_t>(a.p - r.begin);
  if (begin + a.bytes > end_of(r)) report(a, r, "bounds", "");
  for (size_t i = begin / kGrain; i <= (begin + a.bytes - 1) / kGrain; i++) {
    Cell& c = r.cells[i];
    const uint8_t touched = a.bytes > 1 ? 3 : static_cast<uint8_t>(1 << begin % 2);
    const bool initialised = c.written && (!r.shared || c.write.run == m.run);
    if (!a.write && !initialised) report(a, r, "uninitialised", "");
    if (r.shared && initialised && c.hold != Hold::kNone) {
      if (c.hold == Hold::kBarrier) report(a, r, "rule", ", a barrier");
      if (c.hold == Hold::kComing) report(a, r, "race", ", to which a copy of " + name_of(c.write) + " is on its way");
      if (a.write) report(a, r, "race", ", from which a store reads");
    }
    if (initialised && (touched & c.write_bytes) != 0) {
      if (!(a.atomic && c.write_atomic) && races(a, c.write, r.shared))
        report(a, r, "race", ", written by " + name_of(c.write));
      if (a.engine && r.shared && !fenced(a, c.write))
        report(a, r, "proxy", ", written by " + name_of(c.write) + " with no fence between");
    }
    if (a.write && c.read.run != 0 && (touched & c.read_bytes) != 0 && !a.atomic) check_write_after_read(a, r, c);
    if (a.write) {
      c.write = a.stamp;
      c.write_bytes = touched;
      c.written = true;
      c.write_atomic = a.atomic;
      c.hold = Hold::kNone;
      if (!a.atomic) {  // who is behind the write is behind those reads
        c.read = {};
        c.many = false;
      }
    } else {
      record_read(a, r, c, touched);
    }
  }
}

Access access_of(const Actor& actor, const void* p, size_t bytes, bool write) {
  Access a{};
  a.p = static_cast<const char*>(p);
  a.bytes = bytes;
  a.write = write;
  a.engine = actor.engine;
  a.name = actor.name;
  a.site = actor.site;
  const uint16_t me = static_cast<uint16_t>(actor.thread);
  if (actor.clock != nullptr) {
    a.self = ~0u;
    a.phase = actor.clock->phase;
    a.seen = actor.clock->seen.data();
    a.fenced = actor.clock->fenced.data();
  } else {
    a.self = actor.thread;
    a.phase = m.phase;
    a.seen = seen_row(actor.thread);
    a.fenced = fenced_row(actor.thread);
  }
  a.stamp = actor.as == ~0u ? Stamp{m.run, m.phase, me, m.ticks[me]}
                            : Stamp{m.run, m.phase, static_cast<uint16_t>(kMaxThreads + actor.as), actor.tick};
  return a;
}

}  // namespace

void prepare_memory() {
  char* shared = static_cast<char*>(std::aligned_alloc(1024, (kMaxShared + 2 * kRed + 1023) / 1024 * 1024));
  if (shared == nullptr) throw Error("the emulator has no memory for its threads");
  m.shared = add(shared + kRed, kMaxShared, true);
}

void forget_readers() {
  m.readers.clear();
  m.free_readers.clear();
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

static Region* allocation(const void* p) {
  const char* begin = static_cast<const char*>(p);
  auto it = m.regions.upper_bound(begin);
  if (it == m.regions.begin()) return nullptr;
  Region* r = std::prev(it)->second.get();
  return begin < r->end && !r->shared ? r : nullptr;
}

bool contains(const void* p, size_t bytes) {
  const Region* r = allocation(p);
  return r != nullptr && bytes <= static_cast<size_t>(r->end - static_cast<const char*>(p));
}

void written(const void* p, size_t bytes) {
  const char* begin = static_cast<const char*>(p);
  Region* r = allocation(begin);
  if (r == nullptr || bytes == 0) return;
  const size_t offset = static_cast<size_t>(begin - r->begin);
  for (size_t i = offset / kGrain; i <= (offset + bytes - 1) / kGrain; i++) {
    Cell& c = r->cells[i];
    c.write = {kHostRun, 0, kHost, 0};
    c.write_bytes = 3;
    c.written = true;
  }
}

size_t allocated() { return m.allocated; }

size_t shared_bytes() { return m.launch->shared; }

size_t shared_offset(const void* p, size_t bytes, const char* what, Site site) {
  const char* at = static_cast<const char*>(p);
  if (at < m.shared->begin || at >= m.shared->end) fail(std::string("bounds: ") + what + ": not an address in shared memory", site);
  const size_t offset = static_cast<size_t>(at - m.shared->begin);
  if (offset + bytes > m.launch->shared)
    fail(std::string("bounds: ") + what + ": " + std::to_string(bytes) + " bytes at byte " + std::to_string(offset) +
             " of shared memory of " + std::to_string(m.launch->shared) + " bytes", site);
  return offset;
}

void hold(const void* p, size_t bytes, Hold hold) {
  if (!options.check) return;
  const size_t begin = static_cast<size_t>(static_cast<const char*>(p) - m.shared->begin);
  for (size_t i = begin / kGrain; i <= (begin + bytes - 1) / kGrain; i++) m.shared->cells[i].hold = hold;
}

void touch(const Actor& actor, const void* p, size_t bytes, bool write) {
  if (!options.check) return;
  Access a = access_of(actor, p, bytes, write);
  Region* r = find(a.p);
  if (r == nullptr) {
    if (Region* near = beside(a.p)) report(a, *near, "bounds", "");
    fail(std::string("bounds: ") + actor.name + ": not an address of the device", actor.site);
  }
  check(a, *r);
}

void arrived(const void* p, size_t bytes, unsigned engine, uint32_t tick) {
  if (!options.check) return;
  const size_t begin = static_cast<size_t>(static_cast<const char*>(p) - m.shared->begin);
  for (size_t i = begin / kGrain; i <= (begin + bytes - 1) / kGrain; i++) {
    Cell& c = m.shared->cells[i];
    c.write = {m.run, m.phase, static_cast<uint16_t>(kMaxThreads + engine), tick};
    c.write_bytes = 3;
    c.written = true;
    c.hold = Hold::kNone;
  }
}

bool written_by_engine(const void* p) {
  const Stamp& s = m.shared->cells[static_cast<size_t>(static_cast<const char*>(p) - m.shared->begin) / kGrain].write;
  return s.run == m.run && s.who >= kMaxThreads && s.who != kHost;
}

void touch_barrier(const Actor& actor, const void* p) {
  if (!options.check) return;
  const Access a = access_of(actor, p, 8, false);
  const Cell& c = m.shared->cells[static_cast<size_t>(a.p - m.shared->begin) / kGrain];
  if (races(a, c.write, true)) report(a, *m.shared, "race", ", a barrier made by " + name_of(c.write));
}

void hold_registers(unsigned thread, const void* p, size_t bytes) {
  m.threads[thread].held.emplace_back(static_cast<const char*>(p), bytes);
}

void free_registers(unsigned thread, const void* p) {
  auto& held = m.threads[thread].held;
  for (size_t i = 0; i < held.size(); i++)
    if (held[i].first == p) {
      held[i] = held.back();
      held.pop_back();
      return;
    }
}

void access(const void* address, size_t bytes, bool write, bool atomic, const void* pc) {
  if (m.running == nullptr || !options.check) return;
  const char* p = static_cast<const char*>(address);
  const uint16_t me = static_cast<uint16_t>(m.running->place.linear);
  const char* stack = m.stacks + size_t{me} * kStack;
  Access a{};
  a.p = p;
  a.bytes = bytes;
  a.write = write;
  a.atomic = atomic;
  a.pc = pc;
  if (p >= stack && p < stack + kStack) {
    for (const auto& held : m.running->held)
      if (p < held.first + held.second && held.first < p + bytes) {
        char code[32];
        std::snprintf(code, sizeof code, ", code %p", pc);
        fail(std::string("race: ") + (write ? "write" : "read") + " of a sum in registers that a product still works on" + code);
      }
    return;
  }
  Region* r = find(p);
  if (r == nullptr) {
    if (p >= m.stacks && p < m.stacks + kStack * kMaxThreads) {
      char code[32];
      std::snprintf(code, sizeof code, ", code %p", pc);
      fail(std::string("bounds: memory of another thread") + code);
    }
    if (Region* near = beside(p)) report(a, *near, "bounds", "");
    return;  // constants, and the arguments of the launch
  }
  if ((bytes & (bytes - 1)) == 0 && reinterpret_cast<uintptr_t>(p) % bytes != 0) report(a, *r, "alignment", "");
  a.self = me;
  a.phase = m.phase;
  a.seen = seen_row(me);
  a.stamp = {m.run, m.phase, me, m.ticks[me]};
  check(a, *r);
}

}  // namespace emu
