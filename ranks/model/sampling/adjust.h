/* What a request's bias and penalties make of a logit before its token is picked (coordinator/logits/logits.h says what for), to the same bit on
 * hosts and GPUs.
 */
#ifndef SLIP_RANKS_MODEL_SAMPLING_ADJUST_H
#define SLIP_RANKS_MODEL_SAMPLING_ADJUST_H

#include "io/base/both.h"
#include "ranks/model/sampling/sampling.h"

/* A token's, in all logit rows of a span. Where the span verifies drafts, they count in the rows behind them (slip_adjustment_counts). */
typedef struct {
    int32_t token;
    uint32_t counts; /* times 2 that it was generated, plus 1 where it stands in the prompt */
    float bias;
} slip_adjustment;

enum {
    SLIP_MAX_ADJUSTMENTS = 1 << 16, /* of a step */
    SLIP_MAX_ADJUSTED = 1 << 19,    /* logits of a step: of each adjustment as many as its span has logit rows */
};

SLIP_BOTH static inline float slip_penalized(double logit, const slip_sampling *sampling, uint32_t counts)
{
    const double r = sampling->repetition_penalty;
    const uint32_t times = counts / 2;
    if (r != 0)
        logit = logit > 0 ? logit / r : slip_product(logit, r);
    return (float)(logit - (slip_product(times, sampling->frequency_penalty) + (times > 0) * sampling->presence_penalty));
}

SLIP_BOTH static inline float slip_adjusted(float logit, const slip_sampling *sampling, float bias, uint32_t counts)
{
    logit += bias;
    return counts > 0 ? slip_penalized(logit, sampling, counts) : logit;
}

/* The adjustment's counts in logit row `i` of its span. `tokens`: of the span's rows, from its first logit row on. */
SLIP_BOTH static inline uint32_t slip_adjustment_counts(uint32_t counts, int32_t token, const int32_t *tokens, int32_t i)
{
    for (int32_t j = 1; j <= i; j++)
        counts += 2 * (tokens[j] == token);
    return counts;
}

#endif
