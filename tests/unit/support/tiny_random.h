/* Random numbers for tests: a hash of a counter (SplitMix64's finaliser), so that a value is a function of where it stands. */
#ifndef TESTS_UNIT_TINY_RANDOM_H
#define TESTS_UNIT_TINY_RANDOM_H

#include <stdint.h>

static inline uint64_t tiny_hash(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* Uniform in (-1, 1), exact in f32. */
static inline float tiny_uniform(uint64_t key, uint64_t index)
{
    return (float)((int64_t)(tiny_hash(tiny_hash(key) + index) >> 40) * 2 + 1) * 0x1p-24f - 1.0f;
}

static inline uint32_t tiny_below(uint64_t key, uint64_t index, uint32_t limit)
{
    return (uint32_t)(tiny_hash(tiny_hash(key) ^ index) % limit);
}

static inline void tiny_fill(uint64_t key, float size, int64_t count, float *values)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = size * tiny_uniform(key, (uint64_t)i);
}

#endif
