/* SLIP_BOTH marks a function of a plain header that device code calls as well. */
#ifndef SLIP_IO_BASE_BOTH_H
#define SLIP_IO_BASE_BOTH_H

#include <stdint.h>

#ifdef __CUDACC__
#define SLIP_BOTH __host__ __device__
#else
#define SLIP_BOTH
#endif

/* The upper 32 bits of a * b. */
SLIP_BOTH static inline uint32_t slip_upper_product(uint32_t a, uint32_t b)
{
#ifdef __CUDA_ARCH__
    return __umulhi(a, b);
#else
    return (uint32_t)((uint64_t)a * b >> 32);
#endif
}

/* a * b, rounded before anything is added to it, whatever a compiler may contract: the same bits everywhere. */
SLIP_BOTH static inline double slip_product(double a, double b)
{
#ifdef __CUDA_ARCH__
    return __dmul_rn(a, b);
#else
    return a * b;
#endif
}

#endif
