/* A function that host and device code share. */
#ifndef SLIP_COMM_BOTH_H
#define SLIP_COMM_BOTH_H

#ifdef __CUDACC__
#define SLIP_BOTH __host__ __device__
#else
#define SLIP_BOTH
#endif

#endif
