// cgroup.h: the limits that Linux control groups (versions 2 and 1) set on this process. Nothing
// is limited elsewhere.
#ifndef L3V_CPU_CGROUP_H
#define L3V_CPU_CGROUP_H

#include <cstdint>

namespace l3v::cpu {

// -1: no limit.
struct CgroupMemory {
  int64_t limit = -1, available = -1;
};
CgroupMemory cgroup_memory();

// Processors' worth of time that the process may use, as 2.5; 0: no limit.
double cgroup_cpus();

}  // namespace l3v::cpu
#endif
