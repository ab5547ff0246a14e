// gemv_blocks256.cu: products of a few rows with weights in blocks of 256.
#include "gemv.cuh"

namespace l3v::cuda {

void gemv_blocks256(const LinearArgs& a, const Queue& q) {
  switch (a.weight->dtype) {
    case L3V_Q2_K: return gemv_of<L3V_Q2_K>(a, q);
    case L3V_Q3_K: return gemv_of<L3V_Q3_K>(a, q);
    case L3V_Q4_K: return gemv_of<L3V_Q4_K>(a, q);
    case L3V_Q5_K: return gemv_of<L3V_Q5_K>(a, q);
    case L3V_Q6_K: return gemv_of<L3V_Q6_K>(a, q);
    default: return gemv_of<L3V_IQ4_XS>(a, q);
  }
}

}  // namespace l3v::cuda
