/* The CPUs that a process may run on, and how many of them fall to each of the ranks that share a host. Linux; elsewhere one each. */
#ifndef SLIP_COMM_HOST_CPUS_H
#define SLIP_COMM_HOST_CPUS_H

#include <stdint.h>

enum { SLIP_CPUS_WORDS = 16 };

/* A bit a CPU: plain data. Those beyond the last bit count as not there. */
typedef struct {
    uint64_t word[SLIP_CPUS_WORDS];
} slip_cpus;

slip_cpus slip_cpus_self(void);

/* The share of `rank`: all CPUs of all ranks of its host over their number, but not more than it may run on itself, and one at least. A
 * launcher that binds ranks and one that does not come out right alike. cpus [ranks]: none of a rank that is on another host. */
int slip_cpus_share(const slip_cpus *cpus, int ranks, int rank);

#endif
