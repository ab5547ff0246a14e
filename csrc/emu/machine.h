// machine.h: the state of the emulator, which core.cpp (threads and their order) and memory.cpp
// (what they touch) share.
#ifndef L3V_EMU_MACHINE_H
#define L3V_EMU_MACHINE_H

#include <map>
#include <memory>
#include <unordered_map>
#include <utility>

#include "core.h"

namespace emu {

constexpr size_t kStack = 128 << 10;

enum class State : uint8_t { kReady, kBarrier, kCollective, kWaiting, kDone };

struct Thread {
  void* top = nullptr;  // of its stack, while it does not run
  Place place;
  State state = State::kDone;
  Site site;            // of what it waits at
  const char* name = nullptr;
  unsigned mask = 0;
  Lane lane{};
  Wait wait{};  // of kWaiting
  std::vector<std::pair<const char*, size_t>> held;  // registers that an engine writes
};

// When an access was made. run counts blocks over all launches, phase the barriers of a block, tick
// the releases of a thread. who: a thread, or kMaxThreads and up an engine.
struct Stamp {
  uint32_t run = 0;
  uint16_t phase = 0;
  uint16_t who = 0;
  uint32_t tick = 0;
};
constexpr uint16_t kHost = 0xFFFF;
constexpr uint32_t kHostRun = 1;

// Two bytes, and which of them the newest write and read touched: of single bytes side by side the
// newest alone is known.
struct Cell {
  Stamp write, read;
  uint32_t readers = 0;  // the set of all of this phase, where there are many and somebody keeps count
  uint8_t write_bytes = 0, read_bytes = 0;  // bit 0 and 1
  bool written = false;
  bool many = false;  // more than one thread read in this phase
  bool write_atomic = false;
  Hold hold = Hold::kNone;
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
  Region* last = nullptr;                                  // found last, of global memory
  size_t allocated = 0;

  char* stacks = nullptr;
  Region* shared = nullptr;
  Thread threads[kMaxThreads];
  uint64_t ready[kMaxThreads / 64] = {};  // a bit a thread
  uint32_t arrived[kMaxThreads / kLanes] = {};  // at the collective of each warp
  std::unordered_map<std::string, int64_t> counts;
  std::vector<BlockEnd> block_ends;

  // Clocks of this launch's threads: rows of count + kEngines, and of count.
  size_t stride = 0;
  std::vector<uint32_t> seen;
  std::vector<uint64_t> fenced;
  std::vector<uint16_t> row_phase;     // of which phase a row is; an older one counts as zeros
  std::vector<uint32_t> engines_base;  // what all have seen of the engines, by the last barrier
  std::vector<uint64_t> fenced_base;
  uint32_t ticks[kMaxThreads];
  uint32_t versions[kMaxThreads] = {};  // of rows: grows as they do
  bool fences = false;      // the launch uses them
  bool fine_order = false;  // the launch orders less than whole blocks
  // Sets of readers: how many, who, and [stride] ticks, zero for those who are not in it. And the
  // numbers of empty ones. Set 0 is none.
  std::vector<uint32_t> readers;
  std::vector<uint32_t> free_readers;
  size_t readers_stride() const { return 1 + 2 * stride; }

  const Launch* launch = nullptr;
  Thread* running = nullptr;
  void* scheduler = nullptr;
  unsigned count = 0;  // threads of a block
  uint32_t run = kHostRun, first_run = kHostRun;
  uint16_t phase = 0;
  unsigned at_barrier = 0, done = 0;
  uint64_t random = 1;
  std::vector<unsigned> warp_order;
  std::vector<std::function<void()>> work;  // of engines
  std::string error;
};
extern Machine m;

std::string name_of(const Thread& t);
std::string name_of(Site s);

// The rows of a thread, of this phase.
uint32_t* seen_row(unsigned thread);
uint64_t* fenced_row(unsigned thread);  // null: the launch has no fences

// What memory.cpp needs at the begin of a launch: the first time it takes its memory.
void prepare_memory();
void forget_readers();

}  // namespace emu
#endif
