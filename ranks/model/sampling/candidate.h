/* The order of candidates, on hosts and GPUs: all ranks and SMs must agree which of two is the better. */
#ifndef SLIP_RANKS_MODEL_SAMPLING_CANDIDATE_H
#define SLIP_RANKS_MODEL_SAMPLING_CANDIDATE_H

#include <math.h>

#include "io/base/both.h"
#include "ranks/model/program.h"

/* Is `a` ahead of `b`, both of finite scores? Higher score, of equals the lower token. */
SLIP_BOTH static inline bool slip_candidate_is_ahead(slip_candidate a, slip_candidate b)
{
    return a.score != b.score ? a.score > b.score : a.token < b.token;
}

/* The better of two candidates: the one ahead; token -1 loses. A score that is not finite wins, so that a logit that is not finite is seen
 * wherever it stood: such a candidate's score says so, its token is some token of the vocabulary. */
SLIP_BOTH static inline slip_candidate slip_candidate_better(slip_candidate a, slip_candidate b)
{
    if (a.token < 0 || b.token < 0)
        return a.token < 0 ? b : a;
    if (isfinite(a.score) != isfinite(b.score))
        return isfinite(a.score) ? b : a;
    if (isfinite(a.score) && a.score != b.score)
        return a.score > b.score ? a : b;
    return a.token < b.token ? a : b;
}

#endif
