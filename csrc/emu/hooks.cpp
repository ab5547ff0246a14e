// hooks.cpp: the functions that -fsanitize=thread and -fsanitize=alignment call, for the emulator's
// checks. The compiler's own runtimes are not linked.
#include <cstring>

#include "core.h"

#define L3V_PC __builtin_return_address(0)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define L3V_ACCESS(name, bytes)                                                              \
  void __tsan_##name##read##bytes(void* p) { emu::access(p, bytes, false, false, L3V_PC); }  \
  void __tsan_##name##write##bytes(void* p) { emu::access(p, bytes, true, false, L3V_PC); }
#define L3V_ACCESSES(bytes)     \
  L3V_ACCESS(, bytes)           \
  L3V_ACCESS(volatile_, bytes)  \
  L3V_ACCESS(unaligned_, bytes) \
  L3V_ACCESS(unaligned_volatile_, bytes)
L3V_ACCESSES(1)
L3V_ACCESSES(2)
L3V_ACCESSES(4)
L3V_ACCESSES(8)
L3V_ACCESSES(16)

void __tsan_read_range(void* p, size_t bytes) { emu::access(p, bytes, false, false, L3V_PC); }
void __tsan_write_range(void* p, size_t bytes) { emu::access(p, bytes, true, false, L3V_PC); }

// Guards of function statics, and counts of shared pointers: the host's half of a file has them,
// kernels have none.
unsigned char __tsan_atomic8_load(const volatile unsigned char* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
unsigned __tsan_atomic32_fetch_add(volatile unsigned* p, unsigned v, int) {
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}

// -fsanitize=alignment: called where an address does not fit its type, also when the compiler cuts
// the access into smaller ones. The record begins with file, line and column.
void __ubsan_handle_type_mismatch_v1(void* record, uintptr_t pointer) {
  struct Place {
    const char* file;
    uint32_t line, column;
  };
  const Place* at = static_cast<const Place*>(record);
  emu::fail("alignment: an address that is " + std::to_string(pointer % 16) + " beyond a multiple of 16",
            {at->file, static_cast<int>(at->line)});
}

}  // extern "C"
