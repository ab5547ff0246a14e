// kernels_neon.cpp: the table of the NEON set. It starts from the scalar one: what is not named here
// has no vector form.
#include "ops.h"

namespace l3v::cpu {

const Kernels* neon_kernels() {
#if defined(__aarch64__)
  static const Kernels kernels = [] {
    Kernels k = *scalar_kernels();
    k.name = "neon";
    k.linear = linear_neon;
    k.linear_workspace = linear_workspace_neon;
    k.patch_embed = patch_embed_neon;
    k.patch_embed_workspace = patch_embed_workspace_neon;
    return k;
  }();
  return &kernels;
#else
  return nullptr;
#endif
}

}  // namespace l3v::cpu
