/* SplitMix64 (Steele, Lea and Flood, 2014), on hosts and GPUs: a hash of a counter, and the generator made of it. */
#ifndef SLIP_RANKS_MODEL_RANDOM_H
#define SLIP_RANKS_MODEL_RANDOM_H

#include <stdint.h>

#include "io/base/both.h"

#define SLIP_RANDOM_STEP 0x9E3779B97F4A7C15u

SLIP_BOTH static inline uint64_t slip_random_mix(uint64_t x)
{
    x += SLIP_RANDOM_STEP;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static inline uint64_t slip_random_next(uint64_t *state)
{
    uint64_t x = *state;
    *state += SLIP_RANDOM_STEP;
    return slip_random_mix(x);
}

#endif
