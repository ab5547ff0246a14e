// Compiles everything after this line for AVX2 with FMA and F16C. Include every standard header first:
// their inline functions must stay runnable on any processor. Ends with target_end.h.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
