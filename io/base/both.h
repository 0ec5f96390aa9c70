/* SLIP_BOTH marks a function of a plain header that device code calls as well. */
#ifndef SLIP_IO_BASE_BOTH_H
#define SLIP_IO_BASE_BOTH_H

#ifdef __CUDACC__
#define SLIP_BOTH __host__ __device__
#else
#define SLIP_BOTH
#endif

#endif
