#include "processor.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#include <unistd.h>

#include "cgroup.h"

namespace l3v::cpu {
namespace {

#if defined(__x86_64__)

bool bit(unsigned word, int n) { return (word >> n & 1) != 0; }

// What the operating system saves of the vector state when it switches threads (XCR0). A
// processor's instructions may be used only as far as that.
uint64_t saved_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Feature bits: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID.
void detect(Processor* p) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  const bool fma = bit(c, 12), xsave_on = bit(c, 27), avx = bit(c, 28), f16c = bit(c, 29);
  const uint64_t state = xsave_on ? saved_state() : 0;
  const bool ymm = (state & 0x06) == 0x06;  // SSE and AVX
  const bool zmm = (state & 0xe6) == 0xe6;  // and mask registers, upper halves, registers 16..31
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    const unsigned subleaves = a;
    p->avx2 = ymm && avx && fma && f16c && bit(b, 5);
    p->avx512 = p->avx2 && zmm && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);  // F DQ BW VL
    p->avx512_vnni = p->avx512 && bit(c, 11);
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
      p->avx512_bf16 = p->avx512 && bit(a, 5);
  }
  char name[49] = "";
  for (unsigned i = 0; i < 3; i++) {
    if (!__get_cpuid(0x80000002 + i, &a, &b, &c, &d)) break;
    const unsigned words[4] = {a, b, c, d};
    std::memcpy(name + 16 * i, words, 16);
  }
  const char* start = name;
  while (*start == ' ') start++;
  size_t length = std::strlen(start);
  while (length > 0 && start[length - 1] == ' ') length--;
  if (length > 0) std::snprintf(p->name, sizeof p->name, "%.*s", static_cast<int>(length), start);
}

#elif defined(__aarch64__)

void detect(Processor* p) {
  p->neon = true;  // part of the architecture
  std::snprintf(p->name, sizeof p->name, "arm64 processor");
#if defined(__APPLE__)
  size_t size = sizeof p->name;
  sysctlbyname("machdep.cpu.brand_string", p->name, &size, nullptr, 0);
#endif
}

#else

void detect(Processor*) {}

#endif

// Cores that this process may run on at once: its affinity, and the time its control group grants.
// A part of a core is none: workers that spin for one another need all of theirs.
int usable_cores() {
  int cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
#if defined(__linux__)
  // Machines with more processors than a cpu_set_t holds refuse the small one.
  for (int most = 1024; most <= 65536; most *= 4) {
    cpu_set_t* set = CPU_ALLOC(most);
    if (set == nullptr) break;
    const size_t size = CPU_ALLOC_SIZE(most);
    const bool ok = sched_getaffinity(0, size, set) == 0;
    if (ok) cores = CPU_COUNT_S(size, set);
    CPU_FREE(set);
    if (ok) break;
  }
  if (const double quota = cgroup_cpus(); quota > 0 && quota < cores)
    cores = static_cast<int>(std::floor(quota));
#elif defined(__APPLE__)
  // The fast cores alone: a barrier waits for the slowest.
  int fast = 0;
  size_t size = sizeof fast;
  if (sysctlbyname("hw.perflevel0.logicalcpu", &fast, &size, nullptr, 0) == 0 && fast > 0) cores = fast;
#endif
  return cores < 1 ? 1 : cores;
}

struct Set {
  const char* name;
  const Kernels* (*kernels)();
  bool Processor::*runs;  // null: anywhere
};
// Best first.
constexpr Set kSets[] = {
    {"avx512", avx512_kernels, &Processor::avx512},
    {"avx2", avx2_kernels, &Processor::avx2},
    {"neon", neon_kernels, &Processor::neon},
    {"scalar", scalar_kernels, nullptr},
};

}  // namespace

const Processor& processor() {
  static const Processor found = [] {
    Processor p{};
    std::snprintf(p.name, sizeof p.name, "processor of unknown name");
    detect(&p);
    p.cores = usable_cores();
    return p;
  }();
  return found;
}

Status choose_kernels(const char* name, const Kernels** out) {
  const Processor& p = processor();
  const bool any = *name == 0;
  for (const Set& set : kSets) {
    if (!any && std::strcmp(set.name, name) != 0) continue;
    const Kernels* kernels = set.kernels();
    const bool runs = set.runs == nullptr || p.*set.runs;
    if (kernels != nullptr && runs) {
      *out = kernels;
      return {};
    }
    if (!any && kernels == nullptr)
      return fail(L3V_UNSUPPORTED, "kernels \"%s\" are not in a library for this architecture", name);
    if (!any) return fail(L3V_UNSUPPORTED, "kernels \"%s\" do not run on %s", name, p.name);
  }
  return fail(L3V_UNSUPPORTED, "kernels \"%s\" are not known", name);
}

void describe_device(const Kernels& kernels, char* text, size_t cap) {
  const Processor& p = processor();
  const bool avx512 = std::strcmp(kernels.name, "avx512") == 0;
  std::snprintf(text, cap, "%s, %s%s%s, %d core%s", p.name, kernels.name, avx512 && p.avx512_bf16 ? "+bf16" : "",
                avx512 && p.avx512_vnni ? "+vnni" : "", p.cores, p.cores == 1 ? "" : "s");
}

}  // namespace l3v::cpu
