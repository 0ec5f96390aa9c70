/* The sampling rule: Gumbel-max with a counter-based generator.
 *
 *   token = arg max over v of  logit[v] + temperature * G(seed, position, v),   G = -log(-log u)
 *
 * G and u are ranks/model/sampling/gumbel.h's: u comes from Philox4x32-10, keyed by the request's seed, counted by (position, token). The
 * sample at a position depends on nothing else: not on the draft, the batch or the rank count. Scores are one fused multiply-add in double,
 * rounded to f32: they are finite as logits are, and go to the arg max of the logits as the temperature goes to 0, which is it.
 * Ties go to the lowest token.
 */
#ifndef SLIP_RANKS_MODEL_SAMPLING_SAMPLE_H
#define SLIP_RANKS_MODEL_SAMPLING_SAMPLE_H

#include "ranks/model/sampling/candidate.h"
#include "ranks/model/sampling/gumbel.h"
#include "ranks/model/sampling/histogram.h"

/* The 32 random bits of one (seed, position, token). */
uint32_t slip_sample_bits(uint64_t seed, int64_t position, int32_t token);

/* The best of `count` tokens from `first_token` on, no filter applied. `logits` [count]. count 0 gives token -1. */
slip_candidate slip_sample_best(const float *logits, int64_t first_token, int64_t count, const slip_sampling *sampling, int64_t position);

/* The best of those of them that lie in bins >= `open` of their row's histogram. */
slip_candidate slip_sample_above(const float *logits, int64_t first_token, int64_t count, const slip_sampling *sampling, int64_t position,
                                 int32_t open);

/* The same among the tokens that the filters leave: of the top_k likeliest (softmax at `temperature`; of equals the lower token), the
 * fewest likeliest that hold top_p of their mass, and of those the ones at least min_p times as likely as the likeliest.
 * `logits` [vocabulary], the whole row. `scratch` [vocabulary]. */
slip_candidate slip_sample_filtered(const float *logits, int64_t vocabulary, const slip_sampling *sampling, int64_t position,
                                    int32_t *scratch);

/* The same, where the row's histogram is known, and `drawn`, the best token of the bins that it does not leave out. `surely`: the best token
 * of the bins that it keeps, token -1 where they have none; NULL: not known, and a draw that is left out takes the noise of all that are
 * kept. */
slip_candidate slip_sample_drawn(const float *logits, int64_t vocabulary, const slip_histogram *histogram, slip_candidate drawn,
                                 const slip_candidate *surely, const slip_sampling *sampling, int64_t position, int32_t *scratch);

/* The lowest bin that a candidate, found by this rule at a temperature > 0, may lie in. Its score is the logit and the noise, rounded to f32,
 * so that the logit is known to a rounding of f32. */
int32_t slip_candidate_bin(slip_candidate candidate, const slip_sampling *sampling, int64_t position);

#endif
