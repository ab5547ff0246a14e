// kernels_avx2.cpp: the table of the AVX2 set. It starts from the scalar one: what is not named here
// has no vector form.
#include "ops.h"

namespace l3v::cpu {

const Kernels* avx2_kernels() {
#if defined(__x86_64__)
  static const Kernels kernels = [] {
    Kernels k = *scalar_kernels();
    k.name = "avx2";
    k.linear = linear_avx2;
    k.linear_workspace = linear_workspace_avx2;
    k.patch_embed = patch_embed_avx2;
    k.patch_embed_workspace = patch_embed_workspace_avx2;
    return k;
  }();
  return &kernels;
#else
  return nullptr;
#endif
}

}  // namespace l3v::cpu
