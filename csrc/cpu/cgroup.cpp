// cgroup.cpp: a limit may be set at any level of the tree, so every group from the process's own up
// to the root counts, and the tightest decides. In a container /proc/self/cgroup often names a path
// that is not there, since the group is mounted as the root: then the root is all there is.
#include "cgroup.h"

#if defined(__linux__)

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace l3v::cpu {
namespace {

bool read_line(const std::string& path, char* line, int cap) {
  std::FILE* f = std::fopen(path.c_str(), "re");
  if (f == nullptr) return false;
  const bool ok = std::fgets(line, cap, f) != nullptr;
  std::fclose(f);
  return ok;
}

// The number in a file; "max" and what is no number is no limit, -1.
int64_t read_number(const std::string& path) {
  char line[64], *end;
  if (!read_line(path, line, sizeof line)) return -1;
  const long long value = std::strtoll(line, &end, 10);
  return end == line ? -1 : value;
}

// The value behind a key in a file of "key value" lines, 0 when it is not there.
int64_t read_key(const std::string& path, const char* key) {
  std::FILE* f = std::fopen(path.c_str(), "re");
  if (f == nullptr) return 0;
  char line[128], name[64];
  long long value, found = 0;
  while (std::fgets(line, sizeof line, f) != nullptr)
    if (std::sscanf(line, "%63s %lld", name, &value) == 2 && std::strcmp(name, key) == 0) found = value;
  std::fclose(f);
  return found;
}

// The process's group under a controller of version 1, or under version 2 for "".
std::string own_group(const char* controller) {
  std::FILE* f = std::fopen("/proc/self/cgroup", "re");
  if (f == nullptr) return "";
  char line[512];
  std::string group;
  while (std::fgets(line, sizeof line, f) != nullptr) {  // id:controllers:/path
    line[std::strcspn(line, "\n")] = 0;
    char* const controllers = std::strchr(line, ':');
    char* const path = controllers == nullptr ? nullptr : std::strchr(controllers + 1, ':');
    if (path == nullptr) continue;
    *path = 0;
    const std::string list = std::string(",") + (controllers + 1) + ",";
    if (*controller == 0 ? controllers[1] == 0
                         : list.find(std::string(",") + controller + ",") != std::string::npos)
      group = path + 1;
  }
  std::fclose(f);
  return group == "/" ? "" : group;
}

// Calls each(folder) for the process's group and all above it.
template <class Each>
void for_groups(const char* mount, const char* controller, Each each) {
  std::string group = own_group(controller);
  for (;;) {
    each(mount + group);
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) return;
    group.resize(slash);
  }
}

// Takes a group's limit into account; reclaimable is the page cache that counts as used but
// gives way.
void tighten(CgroupMemory* m, int64_t limit, int64_t used, int64_t reclaimable) {
  constexpr int64_t kNoLimit = int64_t{1} << 60;  // version 1 says "none" by a huge number
  if (limit < 0 || limit >= kNoLimit) return;
  if (m->limit < 0 || limit < m->limit) m->limit = limit;
  if (used < 0) return;
  used = used > reclaimable ? used - reclaimable : 0;
  const int64_t available = limit > used ? limit - used : 0;
  if (m->available < 0 || available < m->available) m->available = available;
}

}  // namespace

CgroupMemory cgroup_memory() {
  CgroupMemory m;
  for_groups("/sys/fs/cgroup", "", [&](const std::string& folder) {
    const int64_t limit = read_number(folder + "/memory.max");
    if (limit < 0) return;
    const std::string stat = folder + "/memory.stat";
    tighten(&m, limit, read_number(folder + "/memory.current"),
            read_key(stat, "inactive_file") + read_key(stat, "active_file"));
  });
  for_groups("/sys/fs/cgroup/memory", "memory", [&](const std::string& folder) {
    const int64_t limit = read_number(folder + "/memory.limit_in_bytes");
    if (limit < 0) return;
    const std::string stat = folder + "/memory.stat";
    tighten(&m, limit, read_number(folder + "/memory.usage_in_bytes"),
            read_key(stat, "total_inactive_file") + read_key(stat, "total_active_file"));
  });
  return m;
}

double cgroup_cpus() {
  double cpus = 0;
  const auto tighten = [&](double quota, double period) {
    if (quota > 0 && period > 0 && (cpus == 0 || quota / period < cpus)) cpus = quota / period;
  };
  for_groups("/sys/fs/cgroup", "", [&](const std::string& folder) {
    char line[64];
    double quota, period;
    if (read_line(folder + "/cpu.max", line, sizeof line) &&
        std::sscanf(line, "%lf %lf", &quota, &period) == 2)
      tighten(quota, period);
  });
  for_groups("/sys/fs/cgroup/cpu", "cpu", [&](const std::string& folder) {
    tighten(static_cast<double>(read_number(folder + "/cpu.cfs_quota_us")),
            static_cast<double>(read_number(folder + "/cpu.cfs_period_us")));
  });
  return cpus;
}

}  // namespace l3v::cpu

#else

namespace l3v::cpu {
CgroupMemory cgroup_memory() { return {}; }
double cgroup_cpus() { return 0; }
}  // namespace l3v::cpu

#endif
