/* Routing that overlaps, for benchmarks with random weights. Tokens in a row of a real text share experts (blocks of 8 pick 36 to 46 of
 * 384), random routers share few (8 tokens that pick 8 each: 60 of 384). A router that may pick of a pool of its experts only, with equal
 * chances, is between.
 */
#ifndef SLIP_RANKS_MODEL_OVERLAP_H
#define SLIP_RANKS_MODEL_OVERLAP_H

#include <stdint.h>

/* Experts that `tokens` tokens touch in the mean when each picks `top_k` of `pool`: pool * (1 - (1 - top_k / pool)^tokens). */
double slip_overlap_distinct(int32_t pool, int32_t top_k, int32_t tokens);

/* The pool, of at most `experts`, whose mean is nearest to `distinct`. */
int32_t slip_overlap_pool(int32_t experts, int32_t top_k, int32_t tokens, double distinct);

/* A router's selection biases [experts] under which a random pool is picked of: 0 for its members, and for the others less than any
 * difference of scores, which lie in 0 .. 1, makes up for. */
void slip_overlap_biases(float *biases, int32_t experts, int32_t pool, uint64_t seed);

#endif
