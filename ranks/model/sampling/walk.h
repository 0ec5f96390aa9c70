/* Drafts of a drafter with an in-block head (slip_walk in ranks/model/program.h), which depend on each other.
 *
 * Whole rows of logits would have to meet for that. Instead the vocabulary is cut into slices, and of each logit row every slice's best token by
 * the sampling rule is a candidate; then one walk through the block picks, slot by slot, the best of the candidates' scores and of what the head
 * adds to them. A slice's second token is lost where the head prefers it: slices are made of short runs of tokens, spread over the vocabulary, so
 * that likely tokens, whose ids are neighbours, seldom share one. A drafter whose own logits are good without the head loses nothing by that; one whose
 * head was trained without regard to slices loses more than its head brings (docs/training.md).
 *
 * The cut depends on token ids alone, so that engines and rank counts agree on the candidates.
 */
#ifndef SLIP_RANKS_MODEL_SAMPLING_WALK_H
#define SLIP_RANKS_MODEL_SAMPLING_WALK_H

#include "ranks/model/sampling/candidate.h"

enum {
    SLIP_SLICES = 128,
    SLIP_SLICE_RUN = 8, /* tokens: two calls of Philox, and a sector of logits */
};

SLIP_BOTH static inline int32_t slip_slice_of(int64_t token)
{
    return (int32_t)(token / SLIP_SLICE_RUN % SLIP_SLICES);
}

#endif
