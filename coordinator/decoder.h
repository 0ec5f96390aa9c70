/* The decoder: several sequences, one step at a time.
 *
 *   admit -> prefill in chunks -> [draft, verify, accept] ... -> finished -> release
 *
 * It knows tokens only: text, stop strings and files are its callers'. A sequence's tokens depend on its query alone, not on
 * the others in the step, the chunks of its prompt or the draft.
 */
#ifndef SLIP_COORDINATOR_DECODER_H
#define SLIP_COORDINATOR_DECODER_H

#include "coordinator/draft.h"
#include "coordinator/logits/logits.h"
#include "coordinator/metrics.h"
#include "coordinator/pace/chances.h"
#include "io/report/trace/trace.h"
#include "ranks/rank.h"

/* What to decode. `prompt` is borrowed until the release. prompt_count >= 1 and prompt_count + max_tokens <= slip_decoder_room().
 *
 * An answer that an earlier run began is gone on with: its tokens are read again behind the prompt. Sampling is keyed by seed, position
 * and token, so nothing else is needed for the same answer. They count as tokens of the answer; `fresh` never covers them. */
typedef struct {
    const int32_t *prompt;
    int32_t prompt_count;
    int32_t max_tokens;     /* of the whole answer */
    const int32_t *resumed; /* [resumed_count], copied by slip_decoder_admit() */
    int32_t resumed_count;  /* < max_tokens */
    slip_sampling sampling;
    slip_row_wishes wishes;
    bool ignore_eos; /* benchmarks */
} slip_query;

typedef enum { SLIP_FREE, SLIP_PREFILL, SLIP_DECODE, SLIP_FINISHED } slip_phase_of_sequence;

typedef struct {
    slip_phase_of_sequence phase;
    slip_query query;
    int64_t base;      /* of its extent of K/V */
    uint64_t turn;     /* counts admissions: who came earlier has the smaller one */
    int32_t prefilled; /* tokens in the caches of those that are read: the prompt, then the resumed ones */
    int32_t *tokens;   /* generated, [query.max_tokens]; the end-of-text token is not among them */
    int32_t count;
    slip_past past;
    slip_logprob *logprobs;    /* [query.max_tokens, 1 + query.wishes.top_logprobs] of `tokens`; NULL: not wanted */
    int32_t fresh;             /* tokens that the last step added: tokens[count - fresh .. count) */
    const char *finish_reason; /* "stop", "length", "error": logits that are not finite; NULL while it goes on */
    uint64_t broken_step;      /* "error": number of the step that computed them */
    int32_t drafts[SLIP_MAX_BLOCK];
    slip_acceptance acceptance;
    int32_t rows;         /* of its block in this step: the anchor and the drafts that are verified */
    slip_chances chances; /* of its drafts */
    double admitted_ms, first_token_ms, finished_ms;
    double latest_ms; /* when a step last brought it tokens; 0: none that the time to the next is measured from */
} slip_sequence;

enum { SLIP_CHUNK_LEAST = 512 }; /* of a chunk that many sequences share, or that memory is short for */

typedef struct {
    int32_t sequences;        /* K/V slots */
    int64_t kv_tokens;        /* positions that all of them share, at most what they can use; 0: so many */
    int32_t chunk;            /* prompt tokens in one step, of a sequence at most slip_limits' span_rows */
    double step_budget_ms;    /* of steps in which sequences decode: what they take in of prompts; 0: all there are rows for */
    bool every_row;           /* steps whose rows all want logits, as scoring makes them; else a prompt's last one does */
    bool always_draft;        /* draft in every step and verify whole blocks, whether it pays or not */
    uint64_t random_lengths;  /* tests: verify as much of each block as a draw from this seed says; 0 = off */
    bool prompts_first;       /* benchmarks: nobody decodes while a prompt is read, so that all sequences decode together */
    double forced_acceptance; /* benchmarks: commit this many tokens a step whatever the target says; 0 = off */
    int32_t random_drafts;    /* benchmarks of random weights: verify random ids below this instead of the drafts; 0 = off */
} slip_decoder_options;

typedef struct slip_decoder slip_decoder;

/* Sizes for executors of this decoder: rows, logit rows, K/V room. `context`: most positions of a sequence. */
slip_limits slip_decoder_limits(const slip_model *model, const slip_decoder_options *options, int64_t context);

/* `draft` NULL: one token a step. `trace` NULL: none. All are borrowed. */
slip_status slip_decoder_create(slip_rank *rank, slip_draft *draft, const slip_model *model, const slip_limits *limits,
                                const slip_decoder_options *options, slip_trace *trace, slip_decoder **decoder);
void slip_decoder_free(slip_decoder *decoder);

/* Begin the metrics anew and decode `sequences` at once from now on, at most as many as it was made for (benchmarks). Nobody is admitted. */
void slip_decoder_restart(slip_decoder *decoder, int32_t sequences);

int32_t slip_decoder_slots(const slip_decoder *decoder);

/* Most tokens of a query, prompt and answer: a longer one can never be admitted. */
int64_t slip_decoder_room(const slip_decoder *decoder);

/* A free slot, while there is a free extent of K/V for this query's prompt and max_tokens; else -1. */
int32_t slip_decoder_vacancy(const slip_decoder *decoder, const slip_query *query);

/* `slot`: slip_decoder_vacancy() of this query. */
slip_status slip_decoder_admit(slip_decoder *decoder, int32_t slot, const slip_query *query);

/* End a sequence early (a stop string was found): it counts as finished by "stop", with its first `keep` tokens. */
void slip_decoder_stop(slip_decoder *decoder, int32_t slot, int32_t keep);

/* Add a finished sequence to the metrics and free its slot. */
void slip_decoder_release(slip_decoder *decoder, int32_t slot);

/* Instead of a step: nobody is admitted, for now (slip_rank_idle). */
slip_status slip_decoder_idle(slip_decoder *decoder);

/* One step for all admitted sequences. Afterwards look at each slot's `fresh` and `finish_reason`. */
slip_status slip_decoder_step(slip_decoder *decoder);

const slip_sequence *slip_decoder_sequence(const slip_decoder *decoder, int32_t slot);
bool slip_decoder_busy(const slip_decoder *decoder); /* some slot is admitted and not finished */
slip_metrics *slip_decoder_metrics(slip_decoder *decoder);

#endif
