// gemv_blocks32.cu: products of a few rows with weights in blocks of 32.
#include "gemv.cuh"

namespace l3v::cuda {

void gemv_blocks32(const LinearArgs& a, const Queue& q) {
  switch (a.weight->dtype) {
    case L3V_Q4_0: return gemv_of<L3V_Q4_0>(a, q);
    case L3V_Q4_1: return gemv_of<L3V_Q4_1>(a, q);
    case L3V_Q5_0: return gemv_of<L3V_Q5_0>(a, q);
    case L3V_Q5_1: return gemv_of<L3V_Q5_1>(a, q);
    case L3V_Q8_0: return gemv_of<L3V_Q8_0>(a, q);
    default: return gemv_of<L3V_IQ4_NL>(a, q);
  }
}

}  // namespace l3v::cuda
