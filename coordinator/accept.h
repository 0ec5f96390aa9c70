/* How much of a draft block is committed, and the record of it.
 *
 * The target samples at every row of [anchor, d1 .. dn]; row i's sample is the token after row i. Drafts are accepted while
 * they equal the samples; then the next sample is committed as well (the bonus token) and becomes the new anchor. Since a
 * sample depends only on (seed, position, token), the text is the one that decoding without drafts gives.
 */
#ifndef SLIP_COORDINATOR_ACCEPT_H
#define SLIP_COORDINATOR_ACCEPT_H

#include <stdint.h>

#include "ranks/model/model.h"

/* Number of leading drafts [count] that agree with the samples. */
int32_t slip_accept_prefix(const int32_t *drafts, const int32_t *samples, int32_t count);

/* As vLLM reports it: mean acceptance length = 1 + accepted / steps, the bonus token included. */
typedef struct {
    int64_t steps, draft_tokens, accepted;
    int64_t histogram[SLIP_MAX_BLOCK]; /* [j]: steps that accepted exactly j drafts */
} slip_acceptance;

void slip_acceptance_count(slip_acceptance *record, int32_t drafted, int32_t accepted);
void slip_acceptance_add(slip_acceptance *record, const slip_acceptance *more);
double slip_acceptance_mean(const slip_acceptance *record);

#endif
