/* What logprobs need to know of a whole row of logits, in 216 bytes: its likeliest tokens, one more token's logit, and the sum of exp() over
 * all of it. Those of a row's parts add up to the row's exactly, in any order and however the row was cut.
 *
 * exp(x) is m * 2^k, with m in [1, 2) as 53 bits of an integer, computed from x alone by operations that round alike everywhere. The sum is
 * an integer: words of 32 bits at absolute places, multiples of 32 bits, the first of them that in which exp() of the highest logit has its
 * leading bit, and three below. Lower words are left out of every term alike, so that the sum is exact to 2^-96 of its largest term a term.
 */
#ifndef SLIP_RANKS_MODEL_SAMPLING_LIKELIEST_H
#define SLIP_RANKS_MODEL_SAMPLING_LIKELIEST_H

#include <string.h>

#include "io/base/both.h"
#include "ranks/model/program.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SLIP_EXP_WORDS = 4, SLIP_EXP_WORD = 32, SLIP_EXP_BITS = 52 };

typedef struct {
    int64_t top;                   /* place of the first word: it counts 2^(32 top) */
    uint64_t word[SLIP_EXP_WORDS]; /* sums of words of 32 bits, of at most 2^32 terms */
} slip_exp_sum;

typedef struct {
    slip_exp_sum sum;
    slip_candidate best[SLIP_MAX_TOP_LOGPROBS]; /* [count], best first, of equals the lower token; scores are logits */
    int32_t count;                              /* fewer where the row has no more */
    int32_t found;                              /* `asked` is there: 1 */
    float asked;                                /* the logit of the token that was asked for */
    int32_t unused;
} slip_likeliest;

/* exp(logit) = m * 2^(k - 52): returns m, 53 bits with the first set. Logits beyond 2^19 are all alike: no model has them. The series has an
 * error below 2^-57. */
SLIP_BOTH static inline uint64_t slip_exp_parts(float logit, int32_t *k)
{
    const double limit = 524288, log2e = 1.44269504088896338700, ln2_high = 6.93147180369123816490e-01,
                 ln2_low = 1.90821492927058770002e-10;
    const double x = logit < -limit ? -limit : logit > limit ? limit : (double)logit;
    const double turns = slip_product(x, log2e);
    int32_t n = (int32_t)(turns + (turns < 0 ? -0.5 : 0.5));
    const double r = (x - slip_product(n, ln2_high)) - slip_product(n, ln2_low); /* the first product is exact: 32 and 20 bits */
    double e = 1.6059043836821614599e-10;                                        /* 1 / 13! */
    e = slip_product(e, r) + 2.0876756987868098979e-09;
    e = slip_product(e, r) + 2.5052108385441718775e-08;
    e = slip_product(e, r) + 2.7557319223985890653e-07;
    e = slip_product(e, r) + 2.7557319223985890653e-06;
    e = slip_product(e, r) + 2.4801587301587301587e-05;
    e = slip_product(e, r) + 1.9841269841269841270e-04;
    e = slip_product(e, r) + 1.3888888888888888889e-03;
    e = slip_product(e, r) + 8.3333333333333333333e-03;
    e = slip_product(e, r) + 4.1666666666666666667e-02;
    e = slip_product(e, r) + 1.6666666666666666667e-01;
    e = slip_product(e, r) + 0.5;
    e = slip_product(e, r) + 1;
    e = slip_product(e, r) + 1;
    uint64_t bits;
    memcpy(&bits, &e, sizeof bits);
    *k = n + (int32_t)(bits >> SLIP_EXP_BITS) - 1023;
    return (bits & (((uint64_t)1 << SLIP_EXP_BITS) - 1)) | (uint64_t)1 << SLIP_EXP_BITS;
}

/* An empty sum for terms up to this logit. */
SLIP_BOTH static inline void slip_exp_start(slip_exp_sum *sum, float highest)
{
    int32_t k;
    slip_exp_parts(highest, &k);
    sum->top = k >= 0 ? k / SLIP_EXP_WORD : -((SLIP_EXP_WORD - 1 - k) / SLIP_EXP_WORD);
    for (int i = 0; i < SLIP_EXP_WORDS; i++)
        sum->word[i] = 0;
}

/* Where the last bit of a term lies, counted from that of our lowest word. */
SLIP_BOTH static inline int64_t slip_exp_place(const slip_exp_sum *sum, int32_t k)
{
    return (int64_t)k - SLIP_EXP_BITS - SLIP_EXP_WORD * (sum->top - (SLIP_EXP_WORDS - 1));
}

SLIP_BOTH static inline void slip_exp_add(slip_exp_sum *sum, float logit)
{
    int32_t k;
    uint64_t m = slip_exp_parts(logit, &k);
    int64_t place = slip_exp_place(sum, k);
    if (place <= -(SLIP_EXP_BITS + 1))
        return;
    if (place < 0) {
        m >>= -place;
        place = 0;
    }
    const int skipped = (int)(place / SLIP_EXP_WORD), shift = (int)(place % SLIP_EXP_WORD);
    const uint64_t low = m << shift, high = shift > 0 ? m >> (64 - shift) : 0;
    for (int i = 0; i < SLIP_EXP_WORDS; i++) {
        const int at = i - skipped;
        sum->word[SLIP_EXP_WORDS - 1 - i] += at == 0 ? low & 0xFFFFFFFFu : at == 1 ? low >> SLIP_EXP_WORD : at == 2 ? high : 0;
    }
}

/* Add the sum of another part of the row. */
SLIP_BOTH static inline void slip_exp_merge(slip_exp_sum *sum, const slip_exp_sum *more)
{
    const slip_exp_sum lower = more->top > sum->top ? *sum : *more;
    if (more->top > sum->top)
        *sum = *more;
    const int64_t down = sum->top - lower.top;
    for (int i = 0; i < SLIP_EXP_WORDS; i++)
        for (int j = 0; j < SLIP_EXP_WORDS; j++)
            sum->word[i] += j + down == i ? lower.word[j] : 0;
}

/* What `count` finite logits of tokens from `first_token` on say. `asked`: a token, one of them or not. */
void slip_likeliest_find(const float *logits, int64_t first_token, int64_t count, int32_t asked, slip_likeliest *out);

/* Add what was found in another part of the row. */
void slip_likeliest_add(slip_likeliest *all, const slip_likeliest *more);

/* The logarithm of the sum of exp() over the row; at least its highest logit. */
double slip_likeliest_norm(const slip_likeliest *all);

#ifdef __cplusplus
}
#endif

#endif
