// kernels_avx512.cpp: the table of the AVX-512 set. It starts from the scalar one: what is not named here
// has no vector form.
#include "ops.h"

namespace l3v::cpu {

const Kernels* avx512_kernels() {
#if defined(__x86_64__)
  static const Kernels kernels = [] {
    Kernels k = *scalar_kernels();
    k.name = "avx512";
    k.linear = linear_avx512;
    k.linear_workspace = linear_workspace_avx512;
    k.patch_embed = patch_embed_avx512;
    k.patch_embed_workspace = patch_embed_workspace_avx512;
    return k;
  }();
  return &kernels;
#else
  return nullptr;
#endif
}

}  // namespace l3v::cpu
