/* What the decoder owns, shared by its files:
 *   decoder.c       who is decoded: slots, admission, release, and the step from one end to the other
 *   decoder_step.c  what the next step is: to draft or not, blocks and chunks, what is wanted of it
 *   decoder_sample.c  what came of it: bias and penalties, filters, samples, logprobs
 *   decoder_commit.c  what is made of that: acceptance, new tokens, context for the draft
 */
#ifndef SLIP_COORDINATOR_DECODER_STATE_H
#define SLIP_COORDINATOR_DECODER_STATE_H

#include "coordinator/budget.h"
#include "coordinator/decoder.h"
#include "coordinator/kv/extents.h"
#include "coordinator/pace/pace.h"
#include "coordinator/tap_store.h"

/* What is still to be done for a logit row behind its step (decoder_sample.c). */
typedef enum { SLIP_ROW_DONE, SLIP_ROW_ADJUST, SLIP_ROW_DRAW_AGAIN, SLIP_ROW_FETCH, SLIP_ROW_TELL } slip_row_work;

typedef struct {
    const slip_query *query;
    int64_t position; /* of the token that is sampled */
    slip_edge edge;
    bool binned;  /* there is such an edge */
    int32_t from; /* the lowest bin that is drawn from again */
    slip_row_work left;
} slip_logit_row;

struct slip_decoder {
    slip_rank *rank;
    slip_draft *draft;
    slip_tap_store *taps; /* NULL without a draft */
    const slip_model *model;
    slip_limits limits;
    slip_decoder_options options;
    slip_trace *trace;
    slip_sequence *sequences;
    slip_extents extents;            /* of K/V, one a sequence that is admitted */
    uint64_t admissions;             /* so far */
    int32_t decodes[SLIP_MAX_SPANS]; /* slot of each block: who is past its prompt and decodes in this step */
    int32_t owner[SLIP_MAX_SPANS];   /* slot of each span of the step */
    slip_step step;
    slip_candidate candidates[SLIP_MAX_LOGIT_ROWS]; /* the device's, of each logit row of the step */
    bool whole[SLIP_MAX_LOGIT_ROWS];                /* logit rows that are sampled here, from all of their logits */
    bool drawn[SLIP_MAX_LOGIT_ROWS]; /* rows of these whose candidate is the best of all that their histogram does not leave out */
    slip_candidate rivals[SLIP_MAX_LOGIT_ROWS]; /* where such a candidate may be left out: the best token that is surely kept */
    bool rivalled[SLIP_MAX_LOGIT_ROWS];         /* it is known */
    slip_step again;                            /* the step as it is sampled again */
    slip_logit_row rows[SLIP_MAX_LOGIT_ROWS];   /* logit rows of the step, while they are sampled */
    int32_t samples[SLIP_MAX_LOGIT_ROWS];       /* the target's token after each logit row */
    int32_t *order;                             /* [vocabulary] scratch, >= 0, of the sampling filters and of lists of adjustments */
    float *changed;                             /* [vocabulary] a row as its request wants it */
    bool adjusts;                               /* devices adjust the step's rows; else rows that want it are changed here */
    slip_adjustment *adjustments;               /* [adjustment_count] of the step, room for SLIP_MAX_ADJUSTMENTS */
    int32_t adjustment_count;
    int32_t adjusted[SLIP_MAX_SPANS]; /* how many are each span's */
    slip_pace pace;
    slip_budget budget;
    int32_t decoding;           /* how many they are */
    int32_t block_rows;         /* rows of all their blocks */
    int32_t drafting;           /* how many of them verify drafts in this step */
    bool prompts_only;          /* this step leaves sequences past their prompt alone */
    double catch_up_ms;         /* of its time: context for the draft */
    double draft_ms, device_ms; /* wall time until the drafts were there; device time of them */
    slip_metrics metrics;
    double first_step_ms;
};

/* Choose how much of each block to verify, and begin to draft if anything is. */
slip_status slip_decoder_propose(slip_decoder *decoder);

/* Fill decoder->step: blocks first, since a long prompt must not hold up the others. Returns whether it only verifies. Drafts that were
 * begun stand there as SLIP_TOKEN_OF_LOGIT_ROW. */
bool slip_decoder_build(slip_decoder *decoder);

/* Wait for the drafts that were begun, if any, and put them where they stand in the step; all of it began at `start`. */
slip_status slip_decoder_fetch_drafts(slip_decoder *decoder, double start);

/* Behind a step: candidates that the filters keep, or all logits of the row, of all logit rows that are looked at. */
slip_status slip_decoder_filter(slip_decoder *decoder, slip_outcome *outcome);

/* Behind that: samples, and their logprobs where they are wanted. */
slip_status slip_decoder_sample(slip_decoder *decoder, slip_outcome *outcome);

/* How many drafts of the sequence's next block are accepted whatever the target says, with a forced acceptance: a fixed average, of whole
 * steps that add up to the wanted mean. */
int32_t slip_decoder_forced(const slip_decoder *decoder, const slip_sequence *sequence, int32_t drafts);

/* Turn samples into tokens. */
void slip_decoder_commit(slip_decoder *decoder);

/* The sample of a row that was not looked at, or has a logit that is not finite. No draft equals it. */
enum { SLIP_NO_SAMPLE = -1 };

static inline const slip_executor_kind *slip_decoder_kind(const slip_decoder *decoder)
{
    return slip_runner_kind(slip_rank_target(decoder->rank));
}

/* Are there steps that are sampled again with adjustments, and for logprobs? */
static inline bool slip_decoder_tells(const slip_decoder *decoder)
{
    return slip_decoder_kind(decoder)->likeliest != NULL;
}

/* Whose span `s` of the step is. */
static inline slip_sequence *slip_decoder_owner(const slip_decoder *decoder, int32_t s)
{
    return &decoder->sequences[decoder->owner[s]];
}

/* Do logits of the query's rows change before a token is picked? */
static inline bool slip_decoder_adjusted(const slip_query *query)
{
    return slip_logits_adjusts(&query->wishes, &query->sampling);
}

/* Drafts that a span verifies. */
static inline int32_t slip_decoder_drafts(const slip_span *span)
{
    return span->logit_rows > 0 ? span->logit_rows - 1 : 0;
}

/* Tokens that are read before the first new one: the prompt, and an answer's that an earlier run began. */
static inline int32_t slip_sequence_read_count(const slip_sequence *sequence)
{
    return sequence->query.prompt_count + sequence->query.resumed_count;
}

/* Milliseconds that the blocks of this step and their drafts take; 0 = there are none, or nothing was measured. */
static inline double slip_decoder_blocks_ms(const slip_decoder *decoder)
{
    return decoder->decoding > 0 ? slip_pace_ms(&decoder->pace, decoder->block_rows, decoder->drafting) : 0;
}

/* The sequence is done, for this reason ("stop", "length" or "error"). */
void slip_sequence_finish(slip_sequence *sequence, const char *reason);

#endif
