// gemv_floats.cu: products of a few rows with weights of float types, and the choice among all types.
#include "../common/blocks.h"
#include "gemv.cuh"

namespace l3v::cuda {

void gemv_floats(const LinearArgs& a, const Queue& q) {
  switch (a.weight->dtype) {
    case L3V_F32: return gemv_of<L3V_F32>(a, q);
    case L3V_F16: return gemv_of<L3V_F16>(a, q);
    default: return gemv_of<L3V_BF16>(a, q);
  }
}

void gemv(const LinearArgs& a, const Queue& q) {
  switch (block_of(a.weight->dtype).elements) {
    case 32: return gemv_blocks32(a, q);
    case 256: return gemv_blocks256(a, q);
    default: return gemv_floats(a, q);
  }
}

}  // namespace l3v::cuda
