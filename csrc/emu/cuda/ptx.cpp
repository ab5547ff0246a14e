// ptx.cpp: what the instructions of csrc/cuda/ptx.cuh do, from PTX ISA 9.0.
#include "../../cuda/ptx.cuh"

#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "numbers.h"

namespace emu::cuda {
namespace {

// ---- cp.async: the data are copied when the thread waits for them, as late as they may be. ------

struct Copy {
  char* to;
  const char* from;
  unsigned bytes;
  bool valid;
  Site site;
};
struct Copies {
  uint32_t block = 0;
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};
Copies copies[kMaxThreads];

Copies& my_copies() {
  Copies& c = copies[place().linear];
  if (c.block != block_number()) {
    c.open.clear();
    c.groups.clear();
    c.block = block_number();
  }
  return c;
}

void finish(const Copy& c) {
  const Actor me{"cp.async", c.site, place().linear, false};
  if (c.valid) std::memcpy(c.to, c.from, c.bytes);
  else std::memset(c.to, 0, c.bytes);
  hold(c.to, c.bytes, Hold::kNone);
  touch(me, c.to, c.bytes, true);
}

// ---- Barriers of a part of the block. --------------------------------------------------------

constexpr int kBarriers = 16;
struct Part {
  uint32_t block = 0;
  int id = 0, threads = 0, arrived = 0;
  uint32_t phase = 0;
  uint8_t of_warp[kMaxThreads / kLanes] = {};
  Clock coming, gone;
};
Part parts[kBarriers];

struct AtPart {
  const Part* part;
  uint32_t phase;
};

bool part_is_full(const void* argument) {
  const AtPart& at = *static_cast<const AtPart*>(argument);
  return at.part->phase != at.phase;
}

std::string describe_part(const void* argument) {
  const Part& p = *static_cast<const AtPart*>(argument)->part;
  return "barrier " + std::to_string(p.id) + ", where " + std::to_string(p.arrived) + " of " +
         std::to_string(p.threads) + " threads are";
}

// ---- Matrices. -------------------------------------------------------------------------------

struct LdmatrixIn {
  const char* row;
};
struct LdmatrixHow {
  unsigned matrices;
  bool transposed;
};

void load_matrices(Lane* const lanes[kLanes], const void* argument) {
  const LdmatrixHow how = *static_cast<const LdmatrixHow*>(argument);
  const unsigned warp = place().warp;
  uint16_t elements[4][8][8];
  for (unsigned i = 0; i < how.matrices * 8; i++) {
    const char* row = static_cast<const LdmatrixIn*>(lanes[i]->in)->row;
    const Site site = lanes[i]->site;
    shared_offset(row, 16, "ldmatrix", site);
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("alignment: ldmatrix: a row that begins at no multiple of 16 bytes", site);
    touch({"ldmatrix", site, warp * kLanes + i, false}, row, 16, false);
    std::memcpy(elements[i / 8][i % 8], row, 16);
  }
  for (unsigned l = 0; l < kLanes; l++) {
    uint32_t* out = static_cast<uint32_t*>(lanes[l]->out);
    const unsigned g = l / 4, t = l % 4 * 2;
    for (unsigned i = 0; i < how.matrices; i++) {
      const auto& e = elements[i];
      out[i] = how.transposed ? e[t][g] | uint32_t{e[t + 1][g]} << 16 : e[g][t] | uint32_t{e[g][t + 1]} << 16;
    }
  }
}

struct MmaIn {
  const uint32_t *a, *b;
};
struct MmaHow {
  unsigned k;
  bool bf16;
};

void multiply(Lane* const lanes[kLanes], const void* argument) {
  const MmaHow how = *static_cast<const MmaHow*>(argument);
  const float* half = halves();
  float a[16][16], b[16][8], d[16][8];
  for (unsigned l = 0; l < kLanes; l++) {
    const MmaIn& in = *static_cast<const MmaIn*>(lanes[l]->in);
    const float* sums = static_cast<const float*>(lanes[l]->out);
    const unsigned g = l / 4, t = l % 4 * 2;
    for (unsigned e = 0; e < how.k / 2; e++)  // two elements a register: e / 2 is the register
      a[g + e / 2 % 2 * 8][t + e % 2 + e / 4 * 8] = widen(static_cast<uint16_t>(in.a[e / 2] >> e % 2 * 16), how.bf16, half);
    for (unsigned e = 0; e < how.k / 4; e++)
      b[t + e % 2 + e / 2 * 8][g] = widen(static_cast<uint16_t>(in.b[e / 2] >> e % 2 * 16), how.bf16, half);
    for (unsigned e = 0; e < 4; e++) d[g + e / 2 * 8][t + e % 2] = sums[e];
  }
  for (unsigned r = 0; r < 16; r++)
    for (unsigned k = 0; k < how.k; k++)
      for (unsigned c = 0; c < 8; c++) d[r][c] += a[r][k] * b[k][c];
  for (unsigned l = 0; l < kLanes; l++) {
    float* sums = static_cast<float*>(lanes[l]->out);
    for (unsigned e = 0; e < 4; e++) sums[e] = d[l / 4 + e / 2 * 8][l % 4 * 2 + e % 2];
  }
}

}  // namespace

void cp_async(void* shared, const void* global, unsigned bytes, bool valid, Site site) {
  shared_offset(shared, bytes, "cp.async", site);
  if (reinterpret_cast<uintptr_t>(shared) % bytes != 0 || reinterpret_cast<uintptr_t>(global) % bytes != 0)
    fail("alignment: cp.async: an address that is no multiple of " + std::to_string(bytes), site);
  const Actor me{"cp.async", site, place().linear, false};
  if (valid) touch(me, global, bytes, false);
  touch(me, shared, bytes, true);
  hold(shared, bytes, Hold::kComing);
  std::memset(shared, 0xFF, bytes);
  my_copies().open.push_back({static_cast<char*>(shared), static_cast<const char*>(global), bytes, valid, site});
}

void cp_async_commit(Site) {
  Copies& c = my_copies();
  c.groups.push_back(std::move(c.open));
  c.open.clear();
}

void cp_async_wait(unsigned newest, Site) {
  Copies& c = my_copies();
  while (c.groups.size() > newest) {
    for (const Copy& copy : c.groups.front()) finish(copy);
    c.groups.pop_front();
  }
}

void ldmatrix(uint32_t* r, unsigned matrices, bool transposed, const void* row, Site site) {
  const LdmatrixIn in{static_cast<const char*>(row)};
  const LdmatrixHow how{matrices, transposed};
  collective("ldmatrix", ~0u, &in, r, load_matrices, &how, false, site);
}

void mma(float* d, const uint32_t* a, const uint32_t* b, unsigned k, bool bf16, Site site) {
  const MmaIn in{a, b};
  const MmaHow how{k, bf16};
  collective("mma", ~0u, &in, d, multiply, &how, false, site);
}

void named_barrier(int id, int threads, bool wait, Site site) {
  if (id < 1 || id >= kBarriers) fail("rule: a named barrier of number " + std::to_string(id), site);
  if (threads < 1 || threads % static_cast<int>(kLanes) != 0 || threads > static_cast<int>(block_threads()))
    fail("rule: a named barrier of " + std::to_string(threads) + " threads", site);
  Part& p = parts[id];
  if (p.block != block_number()) {
    p = Part();
    p.block = block_number();
    p.id = id;
  }
  if (p.arrived > 0 && p.threads != threads)
    fail("rule: a named barrier of " + std::to_string(threads) + " threads, at which others are for " +
             std::to_string(p.threads), site);
  p.threads = threads;
  p.of_warp[place().warp]++;
  release(&p.coming, place().linear);
  const AtPart at{&p, p.phase};
  if (++p.arrived == threads) {
    for (const uint8_t lanes : p.of_warp)
      if (lanes % kLanes != 0) fail("divergence: a named barrier that only some lanes of a warp are at", site);
    std::memset(p.of_warp, 0, sizeof p.of_warp);
    p.arrived = 0;
    p.phase++;
    p.gone = p.coming;
    wake(&p);
  } else if (wait) {
    wait_until({&p, &at, part_is_full, describe_part}, site);
  }
  if (wait) acquire(p.gone, place().linear);
}

}  // namespace emu::cuda

namespace l3v::cuda {

uint32_t pack2(float low, float high, Bf16) {
  const auto round = [](float f) {
    const uint32_t bits = emu::cuda::bits_of(f);
    return f != f ? 0x7FFFu : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  };
  return round(low) | round(high) << 16;
}

uint32_t pack2(float low, float high, F16) {
  const auto round = [](float f) {
    const _Float16 h = static_cast<_Float16>(f);
    uint16_t bits;
    std::memcpy(&bits, &h, sizeof bits);
    return uint32_t{bits};
  };
  return round(low) | round(high) << 16;
}

float exp2_approx(float x) {
  const float y = std::exp2(std::fabs(x) < 0x1p-126f ? 0.0f : x);
  return y < 0x1p-126f ? 0.0f : y;
}

}  // namespace l3v::cuda
