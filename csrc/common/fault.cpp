#include "fault.h"

#include "layout.h"

namespace l3v {

const char* op_name(int32_t op) {
  const StructLayout* layout = struct_layout(static_cast<uint32_t>(op));
  return layout == nullptr ? "op" : layout->name;
}

Status fault_status(const l3v_device_status& f) {
  const char* op = op_name(f.op);
  const long long index = f.index, value = f.value;
  switch (f.fault) {
    case L3V_FAULT_TOKEN_ID:
      return fail(L3V_BAD_VALUE, "%s: row %lld has token id %lld, outside the %s", op, index, value,
                  f.op == L3V_STRUCT_LOG_PROB ? "columns" : "table");
    case L3V_FAULT_ROW_INDEX:
      return fail(L3V_BAD_VALUE, "%s: row %lld has index %lld, outside its side", op, index, value);
    case L3V_FAULT_PAGE:
      return fail(L3V_BAD_VALUE, "%s: sequence %lld has page %lld, outside the cache", op, index, value);
    case L3V_FAULT_POSITION:
      return fail(L3V_BAD_VALUE, "%s: %s %lld has position %lld, below zero or past the page table", op,
                  f.op == L3V_STRUCT_ROPE || f.op == L3V_STRUCT_SAMPLE ? "row" : "sequence", index, value);
    case L3V_FAULT_OFFSETS:
      return fail(L3V_BAD_VALUE, "%s: sequence %lld ends at offset %lld, which falls or leaves the view",
                  op, index, value);
    case L3V_FAULT_NOT_FINITE:
      return fail(L3V_BAD_VALUE, "%s: row %lld, column %lld is NaN or infinite (stage %d)", op, index,
                  value, f.stage);
    case L3V_FAULT_SETTING:
      return fail(L3V_BAD_VALUE, "%s: row %lld has setting %lld out of range", op, index, value);
    default:
      return fail(L3V_INTERNAL, "%s: fault %d at index %lld with value %lld", op, f.fault, index, value);
  }
}

}  // namespace l3v
