#include "memory.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

#include "cgroup.h"

namespace l3v::cpu {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kLarge = int64_t{4} << 20;  // from here on blocks are mapped on their own

int64_t round_up(int64_t bytes, int64_t to) { return (bytes + to - 1) / to * to; }

int64_t whole_pages(int64_t bytes) { return round_up(bytes, sysconf(_SC_PAGESIZE)); }

// A mapping whose start is a multiple of kHugePage: what is mapped too much goes back. Its end is not
// one: the last huge page of each block, mostly unused, would take more than the plan says.
char* map_large(int64_t bytes) {
  const int64_t size = whole_pages(bytes), mapped = size + kHugePage;
  void* p = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  char* const start = static_cast<char*>(p);
  char* const data = start + (kHugePage - reinterpret_cast<uintptr_t>(start) % kHugePage) % kHugePage;
  if (data > start) munmap(start, static_cast<size_t>(data - start));
  if (data + size < start + mapped)
    munmap(data + size, static_cast<size_t>(start + mapped - data - size));
#if defined(MADV_HUGEPAGE)
  madvise(data, static_cast<size_t>(size), MADV_HUGEPAGE);  // a wish: small pages do as well
#endif
  return data;
}

}  // namespace

char* allocate(int64_t bytes) {
  if (bytes > INT64_MAX / 2) return nullptr;
  if (bytes >= kLarge) return map_large(bytes);
  void* p = nullptr;
  const size_t size = static_cast<size_t>(round_up(bytes, kAlign));
  if (posix_memalign(&p, kAlign, size) != 0) return nullptr;
  std::memset(p, 0, size);
  return static_cast<char*>(p);
}

void release(char* data, int64_t bytes) {
  if (data == nullptr) return;
  if (bytes >= kLarge)
    munmap(data, static_cast<size_t>(whole_pages(bytes)));
  else
    std::free(data);
}

#if defined(__APPLE__)

SystemMemory system_memory() {
  SystemMemory m;
  size_t size = sizeof m.total;
  if (sysctlbyname("hw.memsize", &m.total, &size, nullptr, 0) != 0) m.total = -1;
  vm_statistics64_data_t vm;
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&vm),
                        &count) == KERN_SUCCESS)
    m.available = static_cast<int64_t>(vm.free_count + vm.inactive_count + vm.purgeable_count) *
                  static_cast<int64_t>(vm_kernel_page_size);
  return m;
}

int64_t resident_memory() {
  mach_task_basic_info info;
  mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
  if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, reinterpret_cast<task_info_t>(&info), &count) !=
      KERN_SUCCESS)
    return -1;
  return static_cast<int64_t>(info.resident_size);
}

#else

SystemMemory system_memory() {
  SystemMemory m;
  if (std::FILE* f = std::fopen("/proc/meminfo", "re")) {
    char line[128];
    long long kib;
    while (std::fgets(line, sizeof line, f) != nullptr) {
      if (std::sscanf(line, "MemTotal: %lld kB", &kib) == 1) m.total = kib * 1024;
      if (std::sscanf(line, "MemAvailable: %lld kB", &kib) == 1) m.available = kib * 1024;
    }
    std::fclose(f);
  }
  const CgroupMemory group = cgroup_memory();
  if (group.limit >= 0 && (m.total < 0 || group.limit < m.total)) m.total = group.limit;
  if (group.available >= 0 && (m.available < 0 || group.available < m.available))
    m.available = group.available;
  return m;
}

int64_t resident_memory() {
  std::FILE* f = std::fopen("/proc/self/statm", "re");
  if (f == nullptr) return -1;
  long long size, resident;
  const bool ok = std::fscanf(f, "%lld %lld", &size, &resident) == 2;
  std::fclose(f);
  return ok ? resident * sysconf(_SC_PAGESIZE) : -1;
}

#endif

}  // namespace l3v::cpu
