// Compiles everything after this line for AVX-512 with its dot products of bytes (VNNI). Include every
// standard header first: their inline functions must stay runnable on any processor. Ends with target_end.h.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
// gcc 12 takes the "don't care" operand of its own AVX-512 intrinsics for an uninitialised variable
// (gcc bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
