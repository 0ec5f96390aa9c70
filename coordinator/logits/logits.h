/* What a request changes in a row of logits before its token is picked, and what it wants to know of the row.
 *
 *   logit[v] += bias[v]                                                  logit_bias
 *   v in prompt or answer: logit[v] = logit[v] > 0 ? logit[v] / r : logit[v] * r    repetition_penalty r (Keskar et al. 2019, 4.1)
 *   v in the answer, n times: logit[v] -= n * f + p                      frequency_penalty f, presence_penalty p (OpenAI's API reference)
 *
 * in this order, which is vLLM's. The tokens before a position decide it, drafted or not: the text is the same with and without the draft.
 * Logprobs are of the logits as the model gave them (vLLM's "raw_logprobs").
 */
#ifndef SLIP_COORDINATOR_LOGITS_LOGITS_H
#define SLIP_COORDINATOR_LOGITS_LOGITS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base/status.h"
#include "ranks/model/sampling/adjust.h"
#include "ranks/model/sampling/likeliest.h"

/* What a request asks of its rows. All zero: nothing. */
typedef struct {
    const slip_bias *biases; /* [bias_count], each token once; borrowed */
    int32_t bias_count;
    bool logprobs;        /* of every generated token */
    int32_t top_logprobs; /* and of so many likeliest ones, at most SLIP_MAX_TOP_LOGPROBS */
} slip_row_wishes;

/* Are logits changed before a token is picked? */
bool slip_logits_adjusts(const slip_row_wishes *wishes, const slip_sampling *sampling);

/* Which tokens were there, for the penalties. All zero: no penalties. */
typedef struct {
    uint32_t *counts; /* [vocabulary]: times 2 that it was generated, plus 1 where it stands in the prompt */
    int32_t *tokens;  /* [count], those with counts */
    int32_t count;
} slip_past;

/* The past of a sequence about to begin. Nothing is allocated where `sampling` has no penalty. */
slip_status slip_past_start(slip_past *past, const slip_sampling *sampling, int32_t vocabulary, const int32_t *prompt,
                            int32_t prompt_count);
void slip_past_add(slip_past *past, int32_t token);
void slip_past_free(slip_past *past);

/* Change `logits` [vocabulary] by bias and penalties. */
void slip_logits_adjust(float *logits, const slip_row_wishes *wishes, const slip_sampling *sampling, const slip_past *past);

/* The same as a list for devices, of rows that verify `drafts` [draft_count]. Returns how many there are, each token once, at most
 * slip_logits_adjustment_room(). `marks` [vocabulary]: scratch, all of it >= 0, which it stays. */
int32_t slip_logits_adjustments(const slip_row_wishes *wishes, const slip_sampling *sampling, const slip_past *past, const int32_t *drafts,
                                int32_t draft_count, int32_t *marks, slip_adjustment *out);
int64_t slip_logits_adjustment_room(const slip_row_wishes *wishes, const slip_past *past, int32_t draft_count);

/* Logprobs of a row of which this is known: of the token that was asked for in out[0], and in out[1 .. top] of the likeliest, best first, of
 * equals the lower token; token -1 where the vocabulary has no more. */
void slip_logprobs_of(const slip_likeliest *row, int32_t token, int32_t top, slip_logprob *out);

/* The same of whole `logits` [vocabulary]; out[0].token is given. */
void slip_logprobs(const float *logits, int32_t vocabulary, int32_t top, slip_logprob *out);

#endif
