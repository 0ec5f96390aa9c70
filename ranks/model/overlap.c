#include "ranks/model/overlap.h"

#include <math.h>
#include <stdbool.h>

#include "ranks/model/random.h"

double slip_overlap_distinct(int32_t pool, int32_t top_k, int32_t tokens)
{
    return pool * (1 - pow(1 - (double)top_k / pool, tokens));
}

/* The mean grows with the pool. */
int32_t slip_overlap_pool(int32_t experts, int32_t top_k, int32_t tokens, double distinct)
{
    int32_t pool = top_k;
    while (pool < experts && slip_overlap_distinct(pool, top_k, tokens) < distinct)
        pool++;
    bool smaller = pool > top_k &&
                   distinct - slip_overlap_distinct(pool - 1, top_k, tokens) < slip_overlap_distinct(pool, top_k, tokens) - distinct;
    return smaller ? pool - 1 : pool;
}

/* Selection sampling (Knuth, 3.4.2, algorithm S): each expert in turn is taken with chance (still wanted) / (still to come). */
void slip_overlap_biases(float *biases, int32_t experts, int32_t pool, uint64_t seed)
{
    int32_t wanted = pool;
    for (int32_t e = 0; e < experts; e++) {
        bool taken = slip_random_next(&seed) % (uint64_t)(experts - e) < (uint64_t)wanted;
        wanted -= taken;
        biases[e] = taken ? 0 : -2;
    }
}
