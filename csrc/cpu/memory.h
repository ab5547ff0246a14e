// memory.h: zeroed, aligned memory, and how much of it the system has.
#ifndef L3V_CPU_MEMORY_H
#define L3V_CPU_MEMORY_H

#include <cstdint>

namespace l3v::cpu {

// bytes > 0 of zeros, aligned to 64 bytes; large blocks to huge pages, which the system is asked
// for, as a weight or cache of megabytes costs a page walk every 4 KiB without. Null: none left.
char* allocate(int64_t bytes);
void release(char* data, int64_t bytes);  // with the bytes it was allocated with

// Memory that this process may still take: of the machine, or of the control group it runs in
// where that allows less. -1: the system does not say.
struct SystemMemory {
  int64_t total = -1, available = -1;
};
SystemMemory system_memory();

// Bytes of this process that lie in memory now; -1: the system does not say.
int64_t resident_memory();

}  // namespace l3v::cpu
#endif
