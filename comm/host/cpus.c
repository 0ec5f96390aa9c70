#include "comm/host/cpus.h"

#include <sched.h>

slip_cpus slip_cpus_self(void)
{
    slip_cpus cpus = {0};
#ifdef __linux__
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int cpu = 0; cpu < CPU_SETSIZE && cpu < 64 * SLIP_CPUS_WORDS; cpu++)
            cpus.word[cpu / 64] |= (uint64_t)(CPU_ISSET(cpu, &set) != 0) << cpu % 64;
#endif
    return cpus;
}

static int count(const slip_cpus *cpus)
{
    int bits = 0;
    for (int w = 0; w < SLIP_CPUS_WORDS; w++)
        bits += __builtin_popcountll(cpus->word[w]);
    return bits;
}

int slip_cpus_share(const slip_cpus *cpus, int ranks, int rank)
{
    slip_cpus all = {0};
    int sharing = 0, own = count(&cpus[rank]);
    for (int r = 0; r < ranks; r++) {
        sharing += count(&cpus[r]) > 0;
        for (int w = 0; w < SLIP_CPUS_WORDS; w++)
            all.word[w] |= cpus[r].word[w];
    }
    int share = sharing > 0 ? count(&all) / sharing : 1;
    share = share < own ? share : own;
    return share > 1 ? share : 1;
}
