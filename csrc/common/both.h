// both.h: marks functions that a GPU's kernels call as well as the host.
#ifndef L3V_COMMON_BOTH_H
#define L3V_COMMON_BOTH_H

#if defined(__CUDACC__)
#define L3V_BOTH __host__ __device__
#else
#define L3V_BOTH
#endif

#endif
