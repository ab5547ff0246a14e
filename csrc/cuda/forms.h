// forms.h: which forms of the kernels there are. It has nothing of CUDA in it, so that what is chosen
// by them (tiles.h) compiles anywhere.
#ifndef L3V_CUDA_FORMS_H
#define L3V_CUDA_FORMS_H

namespace l3v::cuda {

// Which forms of the kernels a context runs. kPlain is the text that the others are read against.
enum class Forms {
  kPlain,  // one chain of sums an output, one block a row
  kSm80,   // mma.sync, ldmatrix, cp.async
  kSm90,   // WGMMA and TMA where they pay, else those of sm_80
};

}  // namespace l3v::cuda
#endif
