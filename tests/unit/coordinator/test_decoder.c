/* The decoder's promise on one rank: a request's tokens depend on the request alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "coordinator/decoder.h"
#include "tiny_checkpoint.h"
#include "tiny_random.h"

enum { QUERIES = 6, LONGEST = 30, CONTEXT = 120 };

/* How to decode; what the result must not depend on. */
typedef struct {
    bool draft;
    int32_t sequences, chunk;
    double forced;
    bool paced; /* leave steps without a draft where drafting does not pay */
    bool ahead; /* steps are begun before their drafts are known */
    bool prompts_first;
} setting;

typedef struct {
    int32_t tokens[LONGEST], count;
    int32_t drafts[7]; /* of the last block */
    const char *reason;
    slip_acceptance acceptance;
} answer;

typedef struct {
    slip_rank *rank;
    slip_draft *draft;
    slip_decoder *decoder;
} machine;

/* ---- the CPU's executor in the manner of the GPU's: a step may be begun before the draft's tokens for it have been fetched ---- */

static slip_executor_kind ahead;
static struct {
    slip_candidate drafted[SLIP_MAX_ROWS]; /* of the last draft */
    int32_t logit_rows, filled_in, open;    /* of it; tokens that were found in it; runs that nobody has waited for */
} device;

static void fill_in(slip_step *step)
{
    for (int32_t i = 0; i < step->row_count; i++) {
        if (step->token[i] > SLIP_TOKEN_OF_LOGIT_ROW(0))
            continue;
        assert_in_range(SLIP_LOGIT_ROW_OF_TOKEN(step->token[i]), 0, device.logit_rows - 1);
        step->token[i] = device.drafted[SLIP_LOGIT_ROW_OF_TOKEN(step->token[i])].token;
        device.filled_in++;
    }
}

static slip_status ahead_begin(slip_executor *executor, slip_phase phase, const slip_step *step)
{
    static slip_step filled;
    filled = *step;
    fill_in(&filled);
    slip_status status = slip_executor_cpu.begin(executor, phase, &filled);
    device.logit_rows = step->logit_rows;
    slip_executor_cpu.candidates(executor, &filled, device.drafted);
    assert_true(++device.open <= SLIP_MAX_IN_FLIGHT);
    return status;
}

static slip_status ahead_wait(slip_executor *executor, slip_run_cost *cost)
{
    assert_true(--device.open >= 0);
    return slip_executor_cpu.wait(executor, cost);
}

static int ahead_max_in_flight(const slip_executor *executor)
{
    (void)executor;
    return SLIP_MAX_IN_FLIGHT;
}

static void ahead_make(void)
{
    ahead = slip_executor_cpu;
    ahead.begin = ahead_begin;
    ahead.wait = ahead_wait;
    ahead.max_in_flight = ahead_max_in_flight;
}

static void machine_make(const tiny_checkpoint *checkpoint, const slip_model *model, const setting *how, machine *m)
{
    slip_decoder_options decoding = {.sequences = how->sequences, .chunk = how->chunk, .forced_acceptance = how->forced,
                                     .always_draft = !how->paced, .prompts_first = how->prompts_first};
    slip_limits limits = slip_decoder_limits(model, &decoding, CONTEXT);
    const slip_executor_kind *kind = how->ahead ? &ahead : &slip_executor_cpu;
    slip_rank_options options = {.kind = kind, .slices = 1, .limits = limits};
    *m = (machine){0};
    assert_int_equal(slip_rank_create(checkpoint->comm, &checkpoint->source, &options, &m->rank), SLIP_OK);
    if (how->draft) {
        const slip_executor_options none = {0};
        assert_int_equal(slip_rank_load_draft(m->rank, false, &none), SLIP_OK);
        assert_int_equal(slip_draft_create(m->rank, &m->draft), SLIP_OK);
    }
    assert_int_equal(slip_decoder_create(m->rank, m->draft, model, &limits, &decoding, NULL, &m->decoder), SLIP_OK);
}

static void machine_free(machine *m)
{
    slip_decoder_free(m->decoder);
    if (m->draft)
        slip_draft_free(m->draft);
    assert_int_equal(slip_rank_end(m->rank), SLIP_OK);
    slip_rank_free(m->rank);
}

static int32_t prompts[QUERIES][70];

/* Prompts from one token to several windows, all temperatures, with and without each filter. */
static slip_query query_of(const slip_model *model, int i)
{
    static const int32_t lengths[QUERIES] = {1, 3, 12, 25, 40, 70}, tokens[QUERIES] = {LONGEST, 20, 1, LONGEST, 9, LONGEST};
    static const double temperatures[QUERIES] = {0, 0.7, 1.3, 1.3, 0, 0.7}, top_p[QUERIES] = {1, 1, 1, 0.8, 1, 0.9},
                        min_p[QUERIES] = {0.5, 0, 0.1, 0, 0, 0.02};
    static const int64_t top_k[QUERIES] = {3, 5, -1, 0, 2, 40};
    for (int32_t t = 0; t < lengths[i]; t++)
        prompts[i][t] = (int32_t)tiny_below((uint64_t)i, (uint64_t)t, (uint32_t)model->vocabulary);
    return (slip_query){.prompt = prompts[i], .prompt_count = lengths[i], .max_tokens = tokens[i],
                        .sampling = {1000 + (uint64_t)i, temperatures[i], top_k[i], top_p[i], min_p[i]}};
}

static void take_answer(machine *m, int32_t slot, answer *a)
{
    const slip_sequence *s = slip_decoder_sequence(m->decoder, slot);
    a->count = s->count;
    a->reason = s->finish_reason;
    a->acceptance = s->acceptance;
    memcpy(a->drafts, s->drafts, sizeof a->drafts);
    memcpy(a->tokens, s->tokens, (size_t)s->count * sizeof *a->tokens);
    slip_decoder_release(m->decoder, slot);
}

/* All queries, as many at once as there are slots; `backwards`: the last one first. */
static void decode_all(machine *m, const slip_model *model, int32_t sequences, bool backwards, answer *answers)
{
    int32_t owner[QUERIES], next = 0, slot;
    while (next < QUERIES || slip_decoder_busy(m->decoder)) {
        for (; next < QUERIES && (slot = slip_decoder_vacancy(m->decoder)) >= 0; next++) {
            slip_query query = query_of(model, owner[slot] = backwards ? QUERIES - 1 - next : next);
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

static void run_setting(const tiny_checkpoint *checkpoint, const slip_model *model, const setting *how, bool backwards,
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

static void assert_same(const answer *a, const answer *b)
{
    for (int i = 0; i < QUERIES; i++) {
        assert_int_equal(a[i].count, b[i].count);
        assert_memory_equal(a[i].tokens, b[i].tokens, (size_t)a[i].count * sizeof *a[i].tokens);
        assert_string_equal(a[i].reason, b[i].reason);
    }
}

static void test_same_tokens(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    static const setting settings[] = {
        {.draft = true, .sequences = 1, .chunk = 64},
        {.draft = true, .sequences = 4, .chunk = 64},
        {.draft = true, .sequences = 3, .chunk = 5},
        {.sequences = 4, .chunk = 7},
        {.draft = true, .sequences = 2, .chunk = 1},
        {.draft = true, .sequences = 1, .chunk = 64, .paced = true},
        {.draft = true, .sequences = 4, .chunk = 64, .paced = true},
        {.draft = true, .sequences = 3, .chunk = 5, .paced = true},
        {.draft = true, .sequences = 3, .chunk = 5, .prompts_first = true},
    };
    answer plain[QUERIES], other[QUERIES];
    run_setting(checkpoint, model, &(setting){.sequences = 1, .chunk = 64}, false, plain);
    for (int i = 0; i < QUERIES; i++)
        assert_true(plain[i].count == query_of(model, i).max_tokens && strcmp(plain[i].reason, "length") == 0);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        for (int backwards = 0; backwards < 2; backwards++) {
            run_setting(checkpoint, model, &settings[i], backwards, other);
            assert_same(plain, other);
        }
}

/* An end-of-text token ends the answer and is not part of it, wherever in a block it falls. */
static void test_end_of_text(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    slip_model model = checkpoint->source.model;
    answer plain[QUERIES], ended[QUERIES], drafted[QUERIES];
    run_setting(checkpoint, &model, &(setting){.sequences = 1, .chunk = 64}, false, plain);
    model.eos[0] = plain[3].tokens[4];
    model.eos_count = 1;
    run_setting(checkpoint, &model, &(setting){.sequences = 2, .chunk = 64}, false, ended);
    run_setting(checkpoint, &model, &(setting){.draft = true, .sequences = 4, .chunk = 64}, false, drafted);
    assert_same(ended, drafted);
    for (int i = 0; i < QUERIES; i++) {
        int32_t end = 0;
        while (end < plain[i].count && plain[i].tokens[end] != model.eos[0])
            end++;
        assert_int_equal(ended[i].count, end);
        assert_memory_equal(ended[i].tokens, plain[i].tokens, (size_t)end * sizeof *plain[i].tokens);
        assert_string_equal(ended[i].reason, end < plain[i].count ? "stop" : "length");
    }
    assert_true(ended[3].count <= 4);
}

/* The drafter of the fixture is untrained: only a forced acceptance puts the end into the middle of a block. */
static void test_end_of_text_inside_a_block(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const setting how = {.draft = true, .sequences = 1, .chunk = 64, .forced = 8};
    slip_model model = checkpoint->source.model;
    answer whole[QUERIES], ended[QUERIES];
    run_setting(checkpoint, &model, &how, false, whole);
    for (int32_t at = 1; at < 9; at++) { /* 0 comes from the prompt, 1 to 8 from the first block */
        int32_t end = 0;
        model.eos[0] = whole[5].tokens[at];
        model.eos_count = 1;
        while (whole[5].tokens[end] != model.eos[0])
            end++;
        run_setting(checkpoint, &model, &how, false, ended);
        assert_int_equal(ended[5].count, end);
        assert_string_equal(ended[5].reason, "stop");
        assert_memory_equal(ended[5].tokens, whole[5].tokens, (size_t)end * sizeof *whole[5].tokens);
    }
}

/* Stopping from outside keeps the first tokens; the slot is free after the release. */
static void test_stop(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    machine m;
    machine_make(checkpoint, model, &(setting){.draft = true, .sequences = 1, .chunk = 64}, &m);
    slip_query query = query_of(model, 3);
    assert_int_equal(slip_decoder_vacancy(m.decoder), 0);
    assert_false(slip_decoder_busy(m.decoder));
    assert_int_equal(slip_decoder_admit(m.decoder, 0, &query), SLIP_OK);
    assert_int_equal(slip_decoder_vacancy(m.decoder), -1);
    while (slip_decoder_sequence(m.decoder, 0)->count < 6)
        assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
    slip_decoder_stop(m.decoder, 0, 4);
    assert_int_equal(slip_decoder_sequence(m.decoder, 0)->count, 4);
    assert_string_equal(slip_decoder_sequence(m.decoder, 0)->finish_reason, "stop");
    assert_false(slip_decoder_busy(m.decoder));
    slip_decoder_release(m.decoder, 0);
    assert_int_equal(slip_decoder_vacancy(m.decoder), 0);
    assert_int_equal(slip_decoder_metrics(m.decoder)->tokens, 4);
    machine_free(&m);
}

/* One step; the proposals made in it stay in the sequence. */
static const slip_sequence *step_once(machine *m)
{
    assert_int_equal(slip_decoder_step(m->decoder), SLIP_OK);
    return slip_decoder_sequence(m->decoder, 0);
}

/* What a block commits reaches the draft as the prompt does: start over with the first answers in the prompt, and the draft
 * proposes the same. */
static void test_draft_context(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    const setting how = {.draft = true, .sequences = 1, .chunk = 64};
    machine m, again;
    slip_query query = query_of(model, 3), longer = query;
    int32_t prompt[CONTEXT], compared = 0;
    machine_make(checkpoint, model, &how, &m);
    assert_int_equal(slip_decoder_admit(m.decoder, 0, &query), SLIP_OK);
    const slip_sequence *first = step_once(&m);
    while (first->count < 24) {
        int32_t count = first->count;
        step_once(&m);
        memcpy(prompt, query.prompt, (size_t)query.prompt_count * sizeof *prompt);
        memcpy(prompt + query.prompt_count, first->tokens, (size_t)(count - 1) * sizeof *prompt);
        longer.prompt = prompt;
        longer.prompt_count = query.prompt_count + count - 1;
        machine_make(checkpoint, model, &how, &again);
        assert_int_equal(slip_decoder_admit(again.decoder, 0, &longer), SLIP_OK);
        const slip_sequence *second = step_once(&again);
        assert_int_equal(second->tokens[0], first->tokens[count - 1]);
        step_once(&again);
        assert_memory_equal(second->drafts, first->drafts, 7 * sizeof *first->drafts);
        machine_free(&again);
        compared++;
    }
    assert_true(compared >= 3);
    machine_free(&m);
}

/* A forced acceptance length comes out as asked, over steps that are whole numbers. */
static void test_forced_acceptance(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    machine m;
    machine_make(checkpoint, model, &(setting){.draft = true, .sequences = 1, .chunk = 64, .forced = 3.5}, &m);
    slip_query query = query_of(model, 5);
    query.max_tokens = 29; /* the first comes from the prompt, then 14 of 3 and 4 */
    assert_int_equal(slip_decoder_admit(m.decoder, 0, &query), SLIP_OK);
    while (slip_decoder_busy(m.decoder))
        assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
    const slip_acceptance *record = &slip_decoder_sequence(m.decoder, 0)->acceptance;
    assert_int_equal(record->steps, 8);
    assert_true(record->histogram[2] == 4 && record->histogram[3] == 4 && slip_acceptance_mean(record) == 3.5);
    slip_decoder_release(m.decoder, 0);
    machine_free(&m);
}

/* Prompts of several lengths are read before anybody decodes, so that equal answers begin and end together: every step is full. */
static void test_prompts_first(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    const slip_metrics *metrics;
    for (int first = 0; first < 2; first++) {
        machine m;
        machine_make(checkpoint, model, &(setting){.draft = true, .sequences = 4, .chunk = 5, .forced = 4, .prompts_first = first}, &m);
        for (int32_t slot = 0; slot < 4; slot++) {
            slip_query query = query_of(model, slot);
            query.max_tokens = 29; /* the first comes from the prompt, then 7 blocks of 4 */
            query.sampling = (slip_sampling){.seed = query.sampling.seed, .temperature = query.sampling.temperature, .top_p = 1};
            assert_int_equal(slip_decoder_admit(m.decoder, slot, &query), SLIP_OK);
        }
        while (slip_decoder_busy(m.decoder))
            assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
        metrics = slip_decoder_metrics(m.decoder);
        assert_true(metrics->prefill_bytes > 0 && metrics->full.sequences == 4);
        assert_true(metrics->full.verify_bytes > 0 && metrics->full.verify_bytes <= metrics->verify_bytes);
        assert_true(metrics->full.seconds >= metrics->full.verify_seconds && metrics->full.verify_seconds > 0);
        assert_int_equal(metrics->full.step.count == metrics->step.count, first);
        if (first)
            assert_true(metrics->full.step.count == 7 && metrics->full.tokens == 7 * 4 * 4);
        machine_free(&m);
    }
}

static void test_limits(void **state)
{
    const slip_model *model = &((tiny_checkpoint *)*state)->source.model;
    slip_limits few = slip_decoder_limits(model, &(slip_decoder_options){.sequences = 2, .chunk = 64}, 100);
    assert_true(few.rows == 64 && few.sequences == 2 && few.span_rows == 64 && few.context == 108);
    slip_limits many = slip_decoder_limits(model, &(slip_decoder_options){.sequences = 20, .chunk = 4}, 100);
    assert_true(many.rows == 160 && many.logit_rows == 160 && many.span_rows == 8);
}

/* A step that is begun before its drafts are known finds them: what is drafted and committed is the same. */
static void test_steps_ahead(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    answer waiting[QUERIES], early[QUERIES];
    for (int32_t sequences = 1; sequences <= 4; sequences += 3) {
        run_setting(checkpoint, model, &(setting){.draft = true, .sequences = sequences, .chunk = 5}, false, waiting);
        run_setting(checkpoint, model, &(setting){.draft = true, .sequences = sequences, .chunk = 5, .ahead = true}, false, early);
        assert_same(waiting, early);
        for (int i = 0; i < QUERIES; i++)
            assert_memory_equal(waiting[i].drafts, early[i].drafts, sizeof early[i].drafts);
    }
    run_setting(checkpoint, model, &(setting){.draft = true, .sequences = 3, .chunk = 64, .paced = true, .ahead = true}, true, early);
    assert_same(waiting, early);
    assert_true(device.filled_in > 0 && device.open == 0);
}

static int open_fixture(void **state)
{
    ahead_make();
    return tiny_checkpoint_open(state, "pro-split-bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_tokens), cmocka_unit_test(test_end_of_text),       cmocka_unit_test(test_stop),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_forced_acceptance),
        cmocka_unit_test(test_draft_context), cmocka_unit_test(test_end_of_text_inside_a_block),
        cmocka_unit_test(test_steps_ahead), cmocka_unit_test(test_prompts_first),
    };
    return cmocka_run_group_tests(tests, open_fixture, tiny_checkpoint_close);
}
