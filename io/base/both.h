/* SLIP_BOTH marks a function of a plain header that device code calls as well. */
#ifndef SLIP_IO_BASE_BOTH_H
#define SLIP_IO_BASE_BOTH_H

#ifdef __CUDACC__
#define SLIP_BOTH __host__ __device__
#else
#define SLIP_BOTH
#endif

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
