/* A decoder with all that it needs, on the tiny checkpoint. Include after cmocka.h. */
#ifndef TESTS_UNIT_DECODER_MACHINE_H
#define TESTS_UNIT_DECODER_MACHINE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/decoder.h"
#include "tiny_checkpoint.h"
#include "tiny_random.h"

enum { QUERIES = 6, LONGEST = 30, CONTEXT = 120, TOP = 3 };

/* How to decode; what the result must not depend on. */
typedef struct {
    bool draft;
    int32_t sequences, chunk;
    double forced;
    bool paced;                     /* verify as much of a block as pays, not all of it */
    uint64_t lengths;               /* seed of random lengths; 0: none */
    bool ahead;                     /* steps are begun before their drafts are known */
    const slip_executor_kind *kind; /* NULL: the CPU's, or `ahead` */
    bool prompts_first;
    double budget; /* milliseconds of a step */
    int64_t kv_tokens;
    slip_trace *trace; /* NULL: none */
} setting;

typedef struct {
    int32_t tokens[LONGEST], count;
    slip_logprob logprobs[LONGEST][1 + TOP];
    int32_t drafts[7]; /* of the last block */
    const char *reason;
    slip_acceptance acceptance;
} answer;

typedef struct {
    slip_rank *rank;
    slip_draft *draft;
    slip_decoder *decoder;
} machine;

/* ---- the CPU's executor in the manner of the GPU's: a step may be begun before the draft's tokens for it have been fetched, where neither
 * it nor the draft is wide ---- */

enum { AHEAD_ROWS = 8 };

static slip_executor_kind ahead;
static struct {
    slip_candidate drafted[SLIP_MAX_LOGIT_ROWS]; /* of the last draft */
    int32_t logit_rows, filled_in, open;         /* of it; tokens that were found in it; runs that nobody has waited for */
} device;

static inline void fill_in(slip_step *step)
{
    for (int32_t i = 0; i < step->row_count; i++) {
        if (step->token[i] > SLIP_TOKEN_OF_LOGIT_ROW(0))
            continue;
        assert_true(SLIP_LOGIT_ROW_OF_TOKEN(step->token[i]) < device.logit_rows);
        step->token[i] = device.drafted[SLIP_LOGIT_ROW_OF_TOKEN(step->token[i])].token;
        device.filled_in++;
    }
}

static inline slip_status ahead_begin(slip_executor *executor, slip_phase phase, const slip_step *step)
{
    static slip_step filled;
    filled = *step;
    fill_in(&filled);
    slip_status status = slip_executor_cpu.begin(executor, phase, &filled);
    device.logit_rows = step->row_count > AHEAD_ROWS ? 0 : step->logit_rows;
    slip_executor_cpu.candidates(executor, &filled, device.drafted);
    assert_true(++device.open <= SLIP_MAX_IN_FLIGHT);
    return status;
}

static inline slip_status ahead_wait(slip_executor *executor, slip_run_cost *cost)
{
    assert_true(--device.open >= 0);
    return slip_executor_cpu.wait(executor, cost);
}

static inline int ahead_max_in_flight(const slip_executor *executor, const slip_step *step)
{
    (void)executor;
    return step->row_count > AHEAD_ROWS ? 1 : SLIP_MAX_IN_FLIGHT;
}

static inline void ahead_make(void)
{
    ahead = slip_executor_cpu;
    ahead.begin = ahead_begin;
    ahead.wait = ahead_wait;
    ahead.max_in_flight = ahead_max_in_flight;
}

static inline void machine_make(const tiny_checkpoint *checkpoint, const slip_model *model, const setting *how, machine *m)
{
    slip_decoder_options decoding = {.sequences = how->sequences,
                                     .kv_tokens = how->kv_tokens,
                                     .chunk = how->chunk,
                                     .forced_acceptance = how->forced,
                                     .always_draft = !how->paced,
                                     .random_lengths = how->lengths,
                                     .prompts_first = how->prompts_first,
                                     .step_budget_ms = how->budget};
    slip_limits limits = slip_decoder_limits(model, &decoding, CONTEXT);
    const slip_executor_kind *kind = how->kind ? how->kind : how->ahead ? &ahead : &slip_executor_cpu;
    slip_rank_options options = {.kind = kind, .slices = 1, .limits = limits};
    *m = (machine){0};
    assert_int_equal(slip_rank_create(checkpoint->comm, &checkpoint->source, &options, &m->rank), SLIP_OK);
    if (how->draft) {
        const slip_executor_options none = {0};
        assert_int_equal(slip_rank_load_draft(m->rank, false, &none), SLIP_OK);
        assert_int_equal(slip_draft_create(m->rank, &m->draft), SLIP_OK);
    }
    assert_int_equal(slip_decoder_create(m->rank, m->draft, model, &limits, &decoding, how->trace, &m->decoder), SLIP_OK);
}

static inline void machine_free(machine *m)
{
    slip_decoder_free(m->decoder);
    if (m->draft)
        slip_draft_free(m->draft);
    assert_int_equal(slip_rank_end(m->rank), SLIP_OK);
    slip_rank_free(m->rank);
}

static int32_t prompts[QUERIES][70];

/* Prompts from one token to several windows, all temperatures, with and without each filter and penalty; queries 3 and 4 have a bias, odd
 * ones want logprobs. */
static inline slip_query query_of(const slip_model *model, int i)
{
    static const int32_t lengths[QUERIES] = {1, 3, 12, 25, 40, 70}, tokens[QUERIES] = {LONGEST, 20, 1, LONGEST, 9, LONGEST};
    static const double temperatures[QUERIES] = {0, 0.7, 1.3, 1.3, 0, 0.7}, top_p[QUERIES] = {1, 1, 1, 0.8, 1, 0.9},
                        min_p[QUERIES] = {0.5, 0, 0.1, 0, 0, 0.02};
    static const double presence[QUERIES] = {0, 0, 0, 1.5, -1, 0}, frequency[QUERIES] = {0, 0, 0, 0, 0.5, 0.25},
                        repetition[QUERIES] = {1, 1, 1, 1, 1.5, 1.2};
    static const slip_bias biases[] = {{5, 1.5f}, {17, -100}};
    static const int64_t top_k[QUERIES] = {3, 5, -1, 0, 2, 40};
    for (int32_t t = 0; t < lengths[i]; t++)
        prompts[i][t] = (int32_t)tiny_below((uint64_t)i, (uint64_t)t, (uint32_t)model->vocabulary);
    return (slip_query){
        .prompt = prompts[i],
        .prompt_count = lengths[i],
        .max_tokens = tokens[i],
        .sampling = {1000 + (uint64_t)i, temperatures[i], top_k[i], top_p[i], min_p[i], presence[i], frequency[i], repetition[i]},
        .wishes = {biases, i == 3 || i == 4 ? 2 : 0, i % 2 == 1, i % 2 == 1 ? TOP : 0}};
}

static inline void take_answer(machine *m, int32_t slot, answer *a)
{
    const slip_sequence *s = slip_decoder_sequence(m->decoder, slot);
    a->count = s->count;
    a->reason = s->finish_reason;
    a->acceptance = s->acceptance;
    memcpy(a->drafts, s->drafts, sizeof a->drafts);
    assert_true((s->logprobs != NULL) == s->query.wishes.logprobs);
    if (s->logprobs)
        memcpy(a->logprobs, s->logprobs, (size_t)s->count * sizeof *a->logprobs);
    memcpy(a->tokens, s->tokens, (size_t)s->count * sizeof *a->tokens);
    slip_decoder_release(m->decoder, slot);
}

/* All queries, as many at once as there are slots; `backwards`: the last one first. */
static inline void decode_all(machine *m, const slip_model *model, int32_t sequences, bool backwards, answer *answers)
{
    int32_t owner[QUERIES], next = 0, slot;
    while (next < QUERIES || slip_decoder_busy(m->decoder)) {
        for (; next < QUERIES; next++) {
            slip_query query = query_of(model, backwards ? QUERIES - 1 - next : next);
            if ((slot = slip_decoder_vacancy(m->decoder, &query)) < 0)
                break;
            owner[slot] = backwards ? QUERIES - 1 - next : next;
            assert_int_equal(slip_decoder_admit(m->decoder, slot, &query), SLIP_OK);
        }
        assert_int_equal(slip_decoder_step(m->decoder), SLIP_OK);
        for (slot = 0; slot < sequences; slot++) {
            const slip_sequence *s = slip_decoder_sequence(m->decoder, slot);
            assert_true(s->fresh >= 0 && s->fresh <= 8 && s->count <= s->query.max_tokens);
            if (s->phase == SLIP_FINISHED)
                take_answer(m, slot, &answers[owner[slot]]);
        }
    }
}

static inline void run_setting(const tiny_checkpoint *checkpoint, const slip_model *model, const setting *how, bool backwards,
                               answer *answers)
{
    machine m;
    machine_make(checkpoint, model, how, &m);
    decode_all(&m, model, how->sequences, backwards, answers);
    slip_metrics *metrics = slip_decoder_metrics(m.decoder);
    int64_t tokens = 0;
    for (int i = 0; i < QUERIES; i++)
        tokens += answers[i].count;
    assert_int_equal(metrics->tokens, tokens);
    assert_int_equal(metrics->prompt_tokens, 1 + 3 + 12 + 25 + 40 + 70);
    assert_int_equal(metrics->first_token.count, QUERIES);
    assert_true(metrics->seconds > 0 && metrics->verify_bytes > 0);
    assert_true((metrics->acceptance.steps > 0) == how->draft);
    machine_free(&m);
}

static inline void assert_same(const answer *a, const answer *b)
{
    for (int i = 0; i < QUERIES; i++) {
        assert_int_equal(a[i].count, b[i].count);
        assert_memory_equal(a[i].tokens, b[i].tokens, (size_t)a[i].count * sizeof *a[i].tokens);
        assert_string_equal(a[i].reason, b[i].reason);
        if (i % 2 == 1)
            assert_memory_equal(a[i].logprobs, b[i].logprobs, (size_t)a[i].count * sizeof *a[i].logprobs);
    }
}

#endif
