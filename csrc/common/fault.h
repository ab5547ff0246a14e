// fault.h: the words for what a kernel found wrong, one wording for all backends.
#ifndef L3V_COMMON_FAULT_H
#define L3V_COMMON_FAULT_H

#include "backend.h"

namespace l3v {

// L3V_BAD_VALUE with the fault as a sentence.
Status fault_status(const l3v_device_status& found);

// The op behind one of L3V_STRUCT_...: "embedding".
const char* op_name(int32_t op);

}  // namespace l3v
#endif
