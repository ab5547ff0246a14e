// hopper.cpp: what the instructions of csrc/cuda/hopper.cuh do, from PTX ISA 9.0. Engines beside the
// threads, TMA and WGMMA, finish as late as they may, or, TMA, at a moment drawn from the seed.
#include "../../cuda/hopper.cuh"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "numbers.h"
#include "tensor_map.h"

namespace emu::cuda {
namespace {

constexpr unsigned kWarpsOfGroup = 4, kGroupThreads = kWarpsOfGroup * kLanes;
constexpr unsigned kGroups = kMaxThreads / kGroupThreads;  // engines 0 to 7 are their products
constexpr unsigned kMaxBarriers = kEngines - kGroups;      // the others the copies of each barrier

// ---- Barriers. -------------------------------------------------------------------------------

struct MBarrier {
  unsigned engine;
  size_t offset;
  uint32_t arrivals, pending;
  int64_t bytes = 0;   // to come
  uint32_t phase = 0;  // how many are over
  unsigned maker;
  bool fenced = false;
  unsigned copies = 0;  // on their way
  uint32_t copied = 0, waited = 0;  // up to which phase there were copies, and somebody has waited
  Clock coming, gone;
};

std::string text_of(const MBarrier& b) {
  return "the barrier at byte " + std::to_string(b.offset) + " of shared memory, where " + std::to_string(b.phase) +
         " phases are over, " + std::to_string(b.pending) + " of " + std::to_string(b.arrivals) + " arrivals and " +
         std::to_string(b.bytes) + " bytes are to come, " + std::to_string(b.copies) + " copies are on their way";
}

// ---- Products. -------------------------------------------------------------------------------

// The sums of a chain of products that nobody waited for yet, [64, n].
struct Sums {
  unsigned n;
  std::vector<float> values;
  float* d[kGroupThreads] = {};
  unsigned pending[kWarpsOfGroup] = {};  // products, of each warp
};

struct Product {
  Site site;
  uint64_t desc_a, desc_b;
  unsigned n;
  bool accumulate, rows_of_n, bf16, from_registers;
  std::shared_ptr<Sums> sums;
  std::vector<uint32_t> a;  // [thread][4], where from registers
  std::shared_ptr<const Clock> clocks[kWarpsOfGroup];  // of when each warp began it
};

struct WarpState {
  uint32_t issued = 0, waited = 0;
  std::vector<uint32_t> commits;  // how many were issued by then
  bool fenced = false;            // since registers may have been touched
  std::shared_ptr<const Clock> clock;
  uint64_t clock_version = 0;
  int registers = 0;  // of setmaxnreg, 0: none so far
};

struct Warpgroup {
  std::deque<Product> products;  // from the one of number first
  uint32_t first = 0, executed = 0;
  WarpState warps[kWarpsOfGroup];
};

// ---- Stores of TMA. --------------------------------------------------------------------------

struct Store {
  MapFields map;
  const char* shared;
  int at[kMaxRank];
  Site site;
};
struct Stores {
  std::vector<Store> open;
  std::deque<std::vector<Store>> groups;
};

// ---- All of a block. -------------------------------------------------------------------------

struct Block {
  uint32_t number = 0;
  std::map<const uint64_t*, std::unique_ptr<MBarrier>> barriers;
  Warpgroup groups[kGroups];
  std::map<unsigned, Stores> stores;  // by thread
  std::map<size_t, std::pair<size_t, unsigned>> tiles;  // of TMA, by offset: bytes and swizzle
};
Block state;

std::string at_end() {
  if (state.number != block_number()) return "";
  for (const auto& [p, b] : state.barriers)
    if (b->copies > 0 || b->copied > b->waited) return "rule: the block ends, and nobody has waited for copies at " + text_of(*b);
  for (const auto& [thread, stores] : state.stores)
    if (!stores.open.empty() || !stores.groups.empty())
      return "rule: the block ends, and thread " + std::to_string(thread) + " has not waited for its stores";
  for (const Warpgroup& g : state.groups) {
    for (const WarpState& w : g.warps) {
      if (w.issued != w.waited) return "rule: the block ends, and a wgmma that nobody waited for is under way";
      if (w.registers != g.warps[0].registers) return "divergence: setmaxnreg of some warps of a warpgroup";
    }
  }
  return "";
}

Block& block() {
  if (state.number != block_number()) {
    state = Block();
    state.number = block_number();
    at_block_end(at_end);
  }
  return state;
}

MBarrier& barrier_at(const uint64_t* p, const char* what, Site site) {
  shared_offset(p, 8, what, site);
  const auto it = block().barriers.find(p);
  if (it == block().barriers.end()) fail(std::string("uninitialised: ") + what + ": no barrier was made there", site);
  touch_barrier({what, site, place().linear, false}, p);
  return *it->second;
}

void end_phase_if_over(MBarrier* b) {
  if (b->pending > 0 || b->bytes != 0) return;
  b->phase++;
  b->pending = b->arrivals;
  b->gone = b->coming;
  wake(b);
}

struct AtBarrier {
  const MBarrier* b;
  uint32_t parity;
};
bool phase_is_over(const void* argument) {
  const AtBarrier& at = *static_cast<const AtBarrier*>(argument);
  return (at.b->phase & 1) != at.parity;
}
std::string describe_phase(const void* argument) {
  const AtBarrier& at = *static_cast<const AtBarrier*>(argument);
  return "parity " + std::to_string(at.parity) + " of " + text_of(*at.b);
}

// ---- Tiles in shared memory. -----------------------------------------------------------------

size_t swizzled(size_t offset, unsigned row_bytes) {
  const size_t mask = row_bytes == 0 ? 0 : row_bytes / 16 - 1;
  return offset ^ (offset / 128 & mask) * 16;
}

MapFields fields_of(const CUtensorMap* map, const char* what, Site site) {
  MapFields f;
  std::memcpy(&f, map->opaque, sizeof f);
  if (f.magic != kTensorMapMagic) fail(std::string("rule: ") + what + ": not a tensor map", site);
  return f;
}

size_t box_bytes(const MapFields& f) {
  size_t bytes = f.element_bytes;
  for (unsigned i = 0; i < f.rank; i++) bytes *= f.box[i];
  return bytes;
}

void check_tile(const MapFields& f, const void* shared, unsigned rank, const char* what, Site site) {
  if (f.rank != rank) fail(std::string("rule: ") + what + ": a tensor map of rank " + std::to_string(f.rank), site);
  // Where the rows of a narrower box go is not documented well enough to emulate.
  if (f.swizzle_bytes != 0 && f.box[0] * f.element_bytes != f.swizzle_bytes)
    fail(std::string("rule: ") + what + ": a box whose rows are shorter than its swizzle", site);
  const size_t align = f.swizzle_bytes == 0 ? 128 : size_t{8} * f.swizzle_bytes;
  if (shared_offset(shared, box_bytes(f), what, site) % align != 0)
    fail(std::string("alignment: ") + what + ": a tile that begins at no multiple of " + std::to_string(align), site);
}

// Calls row(offset in the tile, address or null, first column inside, columns inside) for each row of
// the box; null: outside the tensor.
template <class Row>
void each_row(const MapFields& f, const int* at, Row row) {
  const int64_t begin = std::max<int64_t>(0, -int64_t{at[0]});
  const int64_t end = std::min<int64_t>(f.box[0], static_cast<int64_t>(f.dims[0]) - at[0]);
  uint64_t rows = 1;
  for (unsigned i = 1; i < f.rank; i++) rows *= f.box[i];
  for (uint64_t r = 0; r < rows; r++) {
    char* p = f.base + (at[0] + begin) * f.element_bytes;
    bool inside = begin < end;
    uint64_t rest = r;
    for (unsigned i = 1; i < f.rank; i++) {
      const int64_t index = at[i] + static_cast<int64_t>(rest % f.box[i]);
      rest /= f.box[i];
      inside = inside && index >= 0 && index < static_cast<int64_t>(f.dims[i]);
      p += index * static_cast<int64_t>(f.strides[i - 1]);
    }
    row(r * f.box[0] * f.element_bytes, inside ? p : nullptr, static_cast<size_t>(begin) * f.element_bytes,
        static_cast<size_t>(std::max<int64_t>(0, end - begin)) * f.element_bytes);
  }
}

// Bytes first and up of the row of a tile that begins at row_offset, piece by piece: move(offset in the
// tile, offset from first, bytes).
template <class Move>
void each_piece(const MapFields& f, size_t row_offset, size_t first, size_t bytes, Move move) {
  for (size_t done = 0; done < bytes;) {
    const size_t at = row_offset + first + done, piece = std::min(bytes - done, 16 - at % 16);
    move(swizzled(at, f.swizzle_bytes), done, piece);
    done += piece;
  }
}

// ---- Descriptors. ----------------------------------------------------------------------------

constexpr unsigned kRowBytes[] = {0, 128, 64, 32};  // by a descriptor's layout

// The factor behind a descriptor: at(i, k) is the offset in shared memory of element k of row or
// column i, a piece of 8 elements along k (rows of k) or along i.
struct Factor {
  size_t start, leading, stride;
  unsigned row_bytes;
  bool rows_of_k;

  explicit Factor(uint64_t desc, bool rows_of_k)
      : start((desc & 0x3FFF) << 4), leading((desc >> 16 & 0x3FFF) << 4), stride((desc >> 32 & 0x3FFF) << 4),
        row_bytes(kRowBytes[desc >> 62]), rows_of_k(rows_of_k) {}
  size_t at(unsigned i, unsigned k) const {
    size_t offset;
    if (row_bytes == 0 && rows_of_k) offset = i / 8 * stride + i % 8 * 16 + k / 8 * leading + k % 8 * 2;
    else if (row_bytes == 0) offset = i / 8 * stride + k % 8 * 16 + k / 8 * leading + i % 8 * 2;
    else if (rows_of_k) offset = i / 8 * stride + i % 8 * row_bytes + k * 2;
    else offset = i / (row_bytes / 2) * leading + i % (row_bytes / 2) * 2 + k % 8 * row_bytes + k / 8 * stride;
    return swizzled(start + offset, row_bytes);
  }
};

// Reads [count, 16] of a factor into out[k * pitch + i].
void read_factor(const Factor& f, unsigned count, const Actor& actor, bool bf16, float* out, unsigned pitch) {
  if (f.row_bytes != 0 && f.start % (8 * f.row_bytes) >= f.row_bytes)
    fail("alignment: wgmma: a tile that begins at byte " + std::to_string(f.start) + " of shared memory, swizzled every " +
             std::to_string(8 * f.row_bytes), actor.site);
  const auto tile = state.tiles.upper_bound(f.start);
  if (tile != state.tiles.begin()) {
    const auto& [begin, what] = *std::prev(tile);
    if (f.start < begin + what.first && what.second != f.row_bytes && written_by_engine(shared_memory() + f.start))
      fail("rule: wgmma: a descriptor of rows of " + std::to_string(f.row_bytes) + " swizzled bytes, for a tile that TMA wrote with " +
               std::to_string(what.second), actor.site);
  }
  const float* half = halves();
  for (unsigned i = 0; i < count; i += f.rows_of_k ? 1 : 8) {
    for (unsigned k = 0; k < 16; k += f.rows_of_k ? 8 : 1) {
      const size_t offset = f.at(i, k);
      if (offset + 16 > shared_bytes())
        fail("bounds: wgmma: read of 16 bytes at byte " + std::to_string(offset) + " of shared memory of " +
                 std::to_string(shared_bytes()) + " bytes", actor.site);
      const char* p = shared_memory() + offset;
      touch(actor, p, 16, false);
      uint16_t piece[8];
      std::memcpy(piece, p, sizeof piece);
      for (unsigned e = 0; e < 8; e++)
        out[(f.rows_of_k ? k + e : k) * pitch + (f.rows_of_k ? i : i + e)] = widen(piece[e], bf16, half);
    }
  }
}

// d [64, n] += a b; a as [16, 64], b as [16, n].
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
void multiply(float* d, const float* a, const float* b, unsigned n) {
  for (unsigned r = 0; r < 64; r++) {
    float* row = d + r * n;
    for (unsigned k = 0; k < 16; k++) {
      const float x = a[k * 64 + r];
      for (unsigned c = 0; c < n; c++) row[c] += x * b[k * n + c];
    }
  }
}

// What all four warps had seen when they began it.
const Clock& clock_of(const Product& p) {
  static std::shared_ptr<const Clock> of[kWarpsOfGroup];
  static Clock all;
  if (!std::equal(std::begin(of), std::end(of), std::begin(p.clocks))) {
    all = *p.clocks[0];
    for (unsigned w = 1; w < kWarpsOfGroup; w++) intersect(&all, *p.clocks[w]);
    std::copy(std::begin(p.clocks), std::end(p.clocks), std::begin(of));
  }
  return all;
}

// Row and column of register e of a thread, of d.
unsigned row_of(unsigned thread, unsigned e) { return thread / kLanes * 16 + thread % kLanes / 4 + e / 2 % 2 * 8; }
unsigned column_of(unsigned thread, unsigned e) { return e / 4 * 8 + thread % 4 * 2 + e % 2; }

void execute(unsigned group, Product* p, uint32_t number) {
  static std::vector<float> a(16 * 64), b(16 * 256);
  const Actor engine{"wgmma", p->site, place().linear, true, group, number, &clock_of(*p)};
  if (p->from_registers) {
    const float* half = halves();
    for (unsigned t = 0; t < kGroupThreads; t++)
      for (unsigned e = 0; e < 8; e++) {  // register e / 2; of registers, 0 and 2 are of one row
        const unsigned row = t / kLanes * 16 + t % kLanes / 4 + e / 2 % 2 * 8, k = t % 4 * 2 + e % 2 + e / 4 * 8;
        a[k * 64 + row] = widen(static_cast<uint16_t>(p->a[t * 4 + e / 2] >> e % 2 * 16), p->bf16, half);
      }
  } else {
    read_factor(Factor(p->desc_a, true), 64, engine, p->bf16, a.data(), 64);
  }
  read_factor(Factor(p->desc_b, !p->rows_of_n), p->n, engine, p->bf16, b.data(), p->n);
  std::vector<float>& d = p->sums->values;
  if (!p->accumulate) std::fill(d.begin(), d.end(), 0.0f);
  multiply(d.data(), a.data(), b.data(), p->n);
}

unsigned group_of(unsigned thread) { return thread / kGroupThreads; }

WarpState& my_warp(const char* what, Site site) {
  const unsigned group = group_of(place().linear);
  if ((group + 1) * kGroupThreads > block_threads())
    fail(std::string("divergence: ") + what + ": the block has no whole warpgroup of this thread", site);
  return block().groups[group].warps[place().warp % kWarpsOfGroup];
}

struct WgmmaIn {
  float* d;
  const uint32_t* a;
  uint64_t desc_a, desc_b;
  unsigned n;
  bool accumulate, rows_of_n, bf16;
};

bool same(const WgmmaIn& in, const Product& p) {
  return in.desc_a == p.desc_a && in.desc_b == p.desc_b && in.n == p.n && in.accumulate == p.accumulate &&
         in.rows_of_n == p.rows_of_n && in.bf16 == p.bf16 && (in.a != nullptr) == p.from_registers;
}

// All lanes of a warp are at a wgmma.
void issue(Lane* const lanes[kLanes], const void*) {
  const WgmmaIn& in = *static_cast<const WgmmaIn*>(lanes[0]->in);
  const Site site = lanes[0]->site;
  const unsigned first = place().warp * kLanes, w = place().warp % kWarpsOfGroup;
  Warpgroup& g = block().groups[group_of(first)];
  WarpState& warp = g.warps[w];
  if (!warp.fenced) fail("rule: wgmma: no wgmma_fence since the warp could touch its registers", site);
  if (warp.issued == g.first + g.products.size())
    g.products.push_back({site, in.desc_a, in.desc_b, in.n, in.accumulate, in.rows_of_n, in.bf16, in.a != nullptr, nullptr,
                          std::vector<uint32_t>(in.a != nullptr ? kGroupThreads * 4 : 0), {}});
  Product& p = g.products[warp.issued - g.first];
  if (p.site.line != site.line) fail("divergence: wgmma, and another warp of the warpgroup is at another one", site);
  for (unsigned l = 0; l < kLanes; l++)
    if (!same(*static_cast<const WgmmaIn*>(lanes[l]->in), p))
      fail("divergence: wgmma: threads of the warpgroup differ in its descriptors or modes", site);

  // Sums that an earlier product of this warp still works on, or new ones.
  std::shared_ptr<Sums> under_way;
  for (uint32_t i = std::max(warp.waited, g.first); i < warp.issued; i++) {
    const auto& sums = g.products[i - g.first].sums;
    if (sums->d[first % kGroupThreads] == in.d) under_way = sums;
  }
  if (p.sums == nullptr) {
    p.sums = under_way;
    if (p.sums == nullptr) {
      p.sums = std::make_shared<Sums>();
      p.sums->n = p.n;
      p.sums->values.assign(size_t{64} * p.n, 0.0f);
    }
  } else if (under_way != nullptr && under_way != p.sums) {
    fail("divergence: wgmma: warps of the warpgroup differ in their sums", site);
  }
  Sums& sums = *p.sums;
  if (sums.n != p.n) fail("rule: wgmma: sums that another shape of wgmma works on", site);
  sums.pending[w]++;
  for (unsigned l = 0; l < kLanes; l++) {
    const WgmmaIn& lane = *static_cast<const WgmmaIn*>(lanes[l]->in);
    const unsigned t = first % kGroupThreads + l;
    if (in.a != nullptr) std::copy_n(lane.a, 4, &p.a[t * 4]);
    if (under_way != nullptr) continue;
    sums.d[t] = lane.d;
    for (unsigned e = 0; e < p.n / 2; e++) sums.values[row_of(t, e) * p.n + column_of(t, e)] = lane.d[e];
    std::memset(lane.d, 0xFF, p.n / 2 * sizeof(float));
    hold_registers(first + l, lane.d, p.n / 2 * sizeof(float));
  }
  const uint64_t version = clock_version(first, kLanes);
  if (warp.clock == nullptr || warp.clock_version != version) {
    warp.clock = std::make_shared<const Clock>(snapshot(first, kLanes));
    warp.clock_version = version;
  }
  p.clocks[w] = warp.clock;
  warp.issued++;
  wake(&g);
}

void set_fenced(Lane* const lanes[kLanes], const void*) { my_warp("wgmma_fence", lanes[0]->site).fenced = true; }

void commit(Lane* const lanes[kLanes], const void*) {
  WarpState& warp = my_warp("wgmma_commit", lanes[0]->site);
  warp.commits.push_back(warp.issued);
}

uint32_t target_of(const WarpState& warp, unsigned newest) {
  return warp.commits.size() > newest ? warp.commits[warp.commits.size() - 1 - newest] : 0;
}

struct AtProducts {
  const Warpgroup* group;
  uint32_t target;
};
bool all_began(const void* argument) {
  const AtProducts& at = *static_cast<const AtProducts*>(argument);
  for (const WarpState& w : at.group->warps)
    if (w.issued < at.target) return false;
  return true;
}
std::string describe_products(const void* argument) {
  const AtProducts& at = *static_cast<const AtProducts*>(argument);
  return std::to_string(at.target) + " wgmma of the warpgroup, which not all of its warps have begun";
}

// The warp goes on behind the products below target: they are done now, if not before.
void retire(Lane* const*, const void* argument) {
  const uint32_t target = static_cast<const AtProducts*>(argument)->target;
  const unsigned first = place().warp * kLanes, w = place().warp % kWarpsOfGroup, group = group_of(first);
  Warpgroup& g = block().groups[group];
  WarpState& warp = g.warps[w];
  for (; g.executed < target; g.executed++) execute(group, &g.products[g.executed - g.first], g.executed);
  for (; warp.waited < target; warp.waited++) {
    Sums& sums = *g.products[warp.waited - g.first].sums;
    if (--sums.pending[w] > 0) continue;
    for (unsigned t = w * kLanes; t < (w + 1) * kLanes; t++) {
      for (unsigned e = 0; e < sums.n / 2; e++) sums.d[t][e] = sums.values[row_of(t, e) * sums.n + column_of(t, e)];
      free_registers(group * kGroupThreads + t, sums.d[t]);
      sums.d[t] = nullptr;
    }
  }
  warp.fenced = false;
  for (unsigned l = 0; l < kLanes; l++) see(first + l, group, target);
  uint32_t least = g.executed;
  for (const WarpState& other : g.warps) least = std::min(least, other.waited);
  for (; g.first < least; g.first++) g.products.pop_front();
}

void begin_wait(Lane* const lanes[kLanes], const void* argument) {
  const WarpState& warp = my_warp("wgmma_wait", lanes[0]->site);
  if (warp.issued > (warp.commits.empty() ? 0 : warp.commits.back()))
    fail("rule: wgmma_wait: a wgmma stands behind the last wgmma_commit", lanes[0]->site);
  const bool now = all_began(argument);
  if (now) retire(lanes, argument);
  for (unsigned l = 0; l < kLanes; l++) *static_cast<bool*>(lanes[l]->out) = now;
}

struct Registers {
  int count;
  bool more;
};
void set_registers(Lane* const lanes[kLanes], const void*) {
  const Registers& r = *static_cast<const Registers*>(lanes[0]->in);
  const Site site = lanes[0]->site;
  my_warp("setmaxnreg", site).registers = r.count;
  int64_t sum = 0;
  for (unsigned g = 0; g < block_threads() / kGroupThreads; g++) sum += int64_t{block().groups[g].warps[0].registers} * kGroupThreads;
  if (sum > 65536) fail("rule: setmaxnreg: " + std::to_string(sum) + " registers in all, of 65536", site);
}

}  // namespace

void mbarrier_init(uint64_t* p, uint32_t arrivals, Site site) {
  const size_t offset = shared_offset(p, 8, "mbarrier_init", site);
  if (offset % 8 != 0) fail("alignment: mbarrier_init: a barrier at no multiple of 8", site);
  if (arrivals == 0 || arrivals >= 1u << 20) fail("rule: mbarrier_init: of " + std::to_string(arrivals) + " arrivals", site);
  auto& barriers = block().barriers;
  if (barriers.count(p) != 0) fail("rule: mbarrier_init: a barrier that is one", site);
  if (barriers.size() == kMaxBarriers) fail("rule: mbarrier_init: more barriers than the emulator keeps", site);
  const unsigned me = place().linear;
  touch({"mbarrier_init", site, me, false}, p, 8, true);
  hold(p, 8, Hold::kBarrier);
  auto b = std::make_unique<MBarrier>();
  b->engine = kGroups + static_cast<unsigned>(barriers.size());
  b->offset = offset;
  b->arrivals = b->pending = arrivals;
  b->maker = me;
  barriers[p] = std::move(b);
}

void mbarrier_fence_init(Site) {
  for (auto& [p, b] : block().barriers)
    if (b->maker == place().linear) b->fenced = true;
}

void mbarrier_arrive(uint64_t* p, uint32_t bytes, Site site) {
  MBarrier& b = barrier_at(p, "mbarrier_arrive", site);
  if (b.pending == 0) fail("rule: mbarrier_arrive: one arrival more than a phase has, at " + text_of(b), site);
  b.bytes += bytes;
  if (b.bytes >= 1 << 20) fail("rule: mbarrier_arrive: more bytes than a phase can count, at " + text_of(b), site);
  release(&b.coming, place().linear);
  b.pending--;
  end_phase_if_over(&b);
}

void mbarrier_wait(uint64_t* p, uint32_t parity, Site site) {
  MBarrier& b = barrier_at(p, "mbarrier_wait", site);
  if (parity > 1) fail("rule: mbarrier_wait: parity " + std::to_string(parity), site);
  const AtBarrier at{&b, parity};
  wait_until({&b, &at, phase_is_over, describe_phase}, site);
  if (b.phase == 0) return;
  b.waited = b.phase;
  acquire(b.gone, place().linear);
  see(place().linear, b.engine, b.phase);
}

void fence_async_shared(Site site) {
  fence(place().linear);
  mbarrier_fence_init(site);
}

void prefetch_tensor_map(const CUtensorMap* map, Site site) { fields_of(map, "prefetch_tensor_map", site); }

void tma_load(void* shared, const CUtensorMap* map, unsigned rank, const int* at, uint64_t* barrier, Site site) {
  const MapFields f = fields_of(map, "TMA load", site);
  check_tile(f, shared, rank, "TMA load", site);
  MBarrier& b = barrier_at(barrier, "TMA load", site);
  if (!b.fenced) fail("proxy: TMA load: its barrier was made with no mbarrier_fence_init behind", site);
  const size_t bytes = box_bytes(f);
  const unsigned me = place().linear;
  char* tile = static_cast<char*>(shared);
  touch({"TMA load", site, me, true}, tile, bytes, true);
  hold(tile, bytes, Hold::kComing);
  std::memset(tile, 0xFF, bytes);
  each_row(f, at, [&](size_t, const char* p, size_t, size_t inside) {
    if (p != nullptr) touch({"TMA load", site, me, false}, p, inside, false);
  });
  const size_t offset = shared_offset(shared, bytes, "TMA load", site);
  auto& tiles = block().tiles;
  tiles.erase(tiles.lower_bound(offset), tiles.lower_bound(offset + bytes));
  tiles[offset] = {bytes, f.swizzle_bytes};
  b.copies++;
  struct At {
    int v[kMaxRank];
  } where{};
  std::copy_n(at, rank, where.v);
  later([=, barrier = &b, phase = b.phase] {
    MBarrier& b = *barrier;
    b.copies--;
    if (b.phase != phase)
      fail("rule: TMA load: the phase that it began in was over before its bytes came, so too few were expected, at " + text_of(b), site);
    each_row(f, where.v, [&](size_t row, const char* p, size_t first, size_t inside) {
      each_piece(f, row, 0, size_t{f.box[0]} * f.element_bytes,
                 [&](size_t to, size_t, size_t piece) { std::memset(tile + to, 0, piece); });
      if (p == nullptr) return;
      each_piece(f, row, first, inside, [&](size_t to, size_t from, size_t piece) { std::memcpy(tile + to, p + from, piece); });
    });
    arrived(tile, bytes, b.engine, b.phase);
    b.copied = b.phase + 1;
    b.bytes -= static_cast<int64_t>(bytes);
    end_phase_if_over(&b);
  });
}

// act(in the tile, in memory, bytes) for all pieces that the store moves.
template <class Do>
static void each_stored(const Store& s, Do act) {
  each_row(s.map, s.at, [&](size_t row, char* p, size_t first, size_t inside) {
    if (p == nullptr) return;
    each_piece(s.map, row, first, inside, [&](size_t from, size_t to, size_t piece) { act(s.shared + from, p + to, piece); });
  });
}

void tma_store(const CUtensorMap* map, const void* shared, unsigned rank, const int* at, Site site) {
  Store s{fields_of(map, "TMA store", site), static_cast<const char*>(shared), {}, site};
  check_tile(s.map, shared, rank, "TMA store", site);
  std::copy_n(at, rank, s.at);
  const unsigned me = place().linear;
  each_stored(s, [&](const char* from, char*, size_t bytes) {
    touch({"TMA store", site, me, true}, from, bytes, false);
    hold(from, bytes, Hold::kLeaving);
  });
  block().stores[me].open.push_back(s);
}

void tma_store_commit(Site) {
  Stores& s = block().stores[place().linear];
  s.groups.push_back(std::move(s.open));
  s.open.clear();
}

// Both waits find the bytes written: other threads see them at the end of the kernel anyway.
void tma_store_wait(unsigned newest, bool, Site) {
  const unsigned me = place().linear;
  Stores& stores = block().stores[me];
  for (; stores.groups.size() > newest; stores.groups.pop_front()) {
    for (const Store& s : stores.groups.front()) {
      each_stored(s, [&](const char* from, char* to, size_t bytes) {
        touch({"TMA store", s.site, me, true}, from, bytes, false);
        touch({"TMA store", s.site, me, false}, to, bytes, true);
        std::memcpy(to, from, bytes);
        hold(from, bytes, Hold::kNone);
      });
    }
  }
}

void wgmma(float* d, const uint32_t* a, uint64_t desc_a, uint64_t desc_b, unsigned n, bool accumulate, bool rows_of_n,
           bool bf16, Site site) {
  my_warp("wgmma", site);
  const WgmmaIn in{d, a, desc_a, desc_b, n, accumulate, rows_of_n, bf16};
  collective("wgmma", ~0u, &in, nullptr, issue, nullptr, false, site);
}

void wgmma_fence(Site site) {
  my_warp("wgmma_fence", site);
  collective("wgmma_fence", ~0u, nullptr, nullptr, set_fenced, nullptr, false, site);
}

void wgmma_commit(Site site) {
  my_warp("wgmma_commit", site);
  collective("wgmma_commit", ~0u, nullptr, nullptr, commit, nullptr, false, site);
}

void wgmma_wait(unsigned newest, Site site) {
  const WarpState& warp = my_warp("wgmma_wait", site);
  const Warpgroup& g = block().groups[group_of(place().linear)];
  const AtProducts at{&g, target_of(warp, newest)};
  bool done = false;
  collective("wgmma_wait", ~0u, nullptr, &done, begin_wait, &at, false, site);
  if (done) return;
  wait_until({&g, &at, all_began, describe_products}, site);
  collective("wgmma_wait", ~0u, nullptr, nullptr, retire, &at, false, site);
}

uint64_t shared_descriptor(const void* tile, uint32_t leading, uint32_t stride, unsigned layout) {
  const size_t offset = static_cast<size_t>(static_cast<const char*>(tile) - shared_memory());
  if (offset >= kMaxShared || offset % 16 != 0 || leading % 16 != 0 || stride % 16 != 0)
    fail("alignment: shared_descriptor: " + std::to_string(offset) + ", " + std::to_string(leading) + ", " +
         std::to_string(stride) + ": a place or distance that is no multiple of 16");
  return offset >> 4 | uint64_t{leading >> 4} << 16 | uint64_t{stride >> 4} << 32 | uint64_t{layout} << 62;
}

void setmaxnreg(int registers, bool more, Site site) {
  my_warp("setmaxnreg", site);
  const Registers r{registers, more};
  collective("setmaxnreg", ~0u, &r, nullptr, set_registers, nullptr, false, site);
}

}  // namespace emu::cuda
