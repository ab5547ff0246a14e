// core.h: runs a GPU kernel on one CPU thread, for tests. CUDA's headers of the same names beside
// this file, and Metal's, are thin layers over it.
//
// A block's threads are fibers: each runs until it meets a barrier or a collective, and the
// scheduler picks who goes on. Blocks run one after another. Kernels are compiled with
// -fsanitize=thread, whose calls hooks.cpp answers instead of the compiler's own runtime, so that
// every load and store of the unchanged source comes by here and is checked:
//
//   race           two accesses, one of them a write, that no barrier or collective puts in order;
//                  in global memory also those of two blocks of one launch; and any of memory that
//                  an engine beside the threads (a copy, a product) works on
//   proxy          an engine's access behind a thread's write, with no fence between
//   uninitialised  a read of shared memory, or of a fresh allocation, before any write
//   bounds         outside an allocation, or past the shared memory that the launch asked for
//   alignment      an access whose address is no multiple of its size
//   divergence     a barrier or collective that some thread of the block or lane of the mask misses,
//                  or that they meet at two places
//   deadlock       all wait
//   rule           what an instruction asks for besides
//
// Order is kept as vector clocks: a thread knows of each other, and of each engine, up to which of
// its ticks it has seen. A barrier of the whole block begins a phase, of which all earlier ones are
// seen.
//
// Files that include this are compiled without instrumentation, but for kernels: a kernel's own
// loads and stores are checked, the emulator's are not. One launch runs at a time in a process.
#ifndef L3V_EMU_CORE_H
#define L3V_EMU_CORE_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace emu {

constexpr unsigned kLanes = 32;          // of a warp, and of a simdgroup
constexpr unsigned kMaxThreads = 1024;   // of a block
constexpr size_t kMaxShared = 232448;    // bytes: 227 KiB, what a block may ask for on Hopper

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr Dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// Where in a kernel's source a call stands. Functions of the device take one as their last argument
// and fill it in by default.
struct Site {
  const char* file = nullptr;
  int line = 0;
};
#define EMU_SITE const char *emu_file = __builtin_FILE(), int emu_line = __builtin_LINE()
#define EMU_HERE ::emu::Site{emu_file, emu_line}

// What a kernel did wrong: the check, the place, block and thread.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// In which order threads and blocks run. Any order is legal; a bug tends to show in one of them.
enum class Order {
  kForward,  // lowest thread and block first
  kReverse,
  kRandom,   // any that can, anew at each switch
  kWarps,    // one warp as far as it goes; warps in an order that changes now and then
};

struct Options {
  Order order = Order::kRandom;
  uint64_t seed = 1;
  bool check = true;  // race, uninitialised, bounds and alignment
};
extern Options options;

struct Launch {
  const char* kernel;  // its name, for texts and counts
  Dim3 grid, block;
  size_t shared;       // bytes of dynamic shared memory, poisoned before each block
  std::function<void()> body;
};

// Runs a launch to its end. Throws Error.
void run(const Launch& launch);

// How often a kernel of this name was launched.
int64_t launches(const char* kernel);

// ---- Called from kernels. ------------------------------------------------------------------

struct Place {
  Dim3 thread, block, threads, blocks;
  unsigned linear, warp, lane;
};
const Place& place();
char* shared_memory();

// All threads of the block.
void barrier(Site site);

// A collective of the lanes in mask. Each lane brings what it has and where its result goes; the
// last to arrive calls act with all of them (null: not in the mask). ordered: memory of before is
// seen behind it, as of __syncwarp; a shuffle orders nothing.
struct Lane {
  const void* in;
  void* out;
  Site site;
};
using Act = void (*)(Lane* const lanes[kLanes], const void* argument);
void collective(const char* name, unsigned mask, const void* in, void* out, Act act, const void* argument,
                bool ordered, Site site);

[[noreturn]] void fail(const std::string& what, Site site = {});

// ---- For instructions that wait, or that go on while their thread does. ----------------------

// Which block runs: a number that no other has.
uint32_t block_number();
unsigned block_threads();
uint64_t random_number();
const Place& place_of(unsigned thread);
bool has_ended(unsigned thread);
// Where in shared memory, as texts say it; outside, fails.
size_t shared_offset(const void* p, size_t bytes, const char* what, Site site);
size_t shared_bytes();

// The running thread waits until ready(argument), which is asked anew after each wake(key). describe
// says what it waits for, for the report of a deadlock.
struct Wait {
  const void* key;
  const void* argument;
  bool (*ready)(const void*);
  std::string (*describe)(const void*);
};
void wait_until(const Wait& wait, Site site);
void wake(const void* key);

// Done by an engine: at a moment that the scheduler picks, at the latest when no thread can run.
void later(std::function<void()> work);

// Asked at the end of each block, when its threads are done, for what is wrong; "": nothing. Engines
// may still have work.
using BlockEnd = std::string (*)();
void at_block_end(BlockEnd end);

// What somebody has seen: of each thread of the block, and of each engine. fenced: up to where
// writes of threads are behind a fence for the engines.
constexpr unsigned kEngines = 136;
struct Clock {
  uint16_t phase = 0;
  std::vector<uint32_t> seen;     // [block_threads() + kEngines]
  std::vector<uint64_t> fenced;   // [block_threads()], phase and tick
};
void release(Clock* into, unsigned thread);         // all that the thread has seen and done
void acquire(const Clock& from, unsigned thread);
void see(unsigned thread, unsigned engine, uint32_t ticks);  // those below
void fence(unsigned thread);                        // what it has seen is there for the engines
// What all threads from first to first + count have seen, as it is now; what they do from here on is
// beyond it. clock_version is the same number as long as a snapshot would be.
Clock snapshot(unsigned first, unsigned count);
uint64_t clock_version(unsigned first, unsigned count);
void intersect(Clock* with, const Clock& other);

// Who touches memory: a thread, or an engine for one. tick and clock hold for engines; a thread's
// are its own.
struct Actor {
  const char* name;
  Site site;
  unsigned thread;
  bool engine;            // goes by fences
  unsigned as = ~0u;      // the engine to record, or the thread
  uint32_t tick = 0;
  const Clock* clock = nullptr;
};
void touch(const Actor& actor, const void* p, size_t bytes, bool write);

// Shared memory that nobody may touch, or that nobody may write, or that only barriers may.
enum class Hold : uint8_t { kNone, kComing, kLeaving, kBarrier };
void hold(const void* p, size_t bytes, Hold hold);
// An engine has written it, and whoever has seen so many of its ticks may look.
void arrived(const void* p, size_t bytes, unsigned engine, uint32_t tick);
bool written_by_engine(const void* p);
// Checks that the thread has seen the write that made a barrier of it.
void touch_barrier(const Actor& actor, const void* p);

// Registers of the running thread that an engine writes: not to be touched until freed.
void hold_registers(unsigned thread, const void* p, size_t bytes);
void free_registers(unsigned thread, const void* p);

// ---- Memory. -------------------------------------------------------------------------------

// Device memory between red zones, filled with 0xFF, which is NaN in every float type. Null: the
// system has none.
void* allocate(size_t bytes);
// Whether p was one allocation's begin.
bool release(void* p);
// [p, p + bytes) lies in one allocation. The host's copies ask.
bool contains(const void* p, size_t bytes);
// The host wrote it.
void written(const void* p, size_t bytes);
size_t allocated();  // bytes, now

// A load or store of the running thread.
void access(const void* p, size_t bytes, bool write, bool atomic, const void* pc);

}  // namespace emu
#endif
