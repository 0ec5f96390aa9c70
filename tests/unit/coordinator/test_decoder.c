/* The decoder's promise on one rank: a request's tokens depend on the request alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "coordinator/budget.h"
#include "coordinator/decoder.h"
#include "tiny_checkpoint.h"
#include "tiny_random.h"
#include "decoder_machine.h"

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
        {.draft = true, .sequences = 4, .chunk = 64, .paced = true, .budget = 1e-6},
        {.draft = true, .sequences = 4, .chunk = 64, .paced = true, .budget = 0.5},
        {.draft = true, .sequences = 4, .chunk = 64, .budget = 1e6},
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

/* Measured one after the other with fewer sequences: the same answers, and the metrics of the last alone. */
static void test_restart(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    static const int32_t sequences[] = {4, 1, 3, 4};
    answer first[QUERIES], other[QUERIES];
    machine m;
    machine_make(checkpoint, model, &(setting){.draft = true, .sequences = 4, .chunk = 64}, &m);
    decode_all(&m, model, 4, false, first);
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        int64_t tokens = 0;
        slip_decoder_restart(m.decoder, sequences[i]);
        assert_true(slip_decoder_slots(m.decoder) == sequences[i] && slip_decoder_metrics(m.decoder)->tokens == 0);
        decode_all(&m, model, sequences[i], i % 2 == 1, other);
        assert_same(first, other);
        for (int q = 0; q < QUERIES; q++)
            tokens += other[q].count;
        const slip_metrics *metrics = slip_decoder_metrics(m.decoder);
        assert_true(metrics->tokens == tokens && metrics->first_token.count == QUERIES);
        assert_true(metrics->between.count > 0 && metrics->between.count <= tokens - QUERIES);
    }
    machine_free(&m);
}

/* An answer that is gone on with, wherever it was cut, is the answer; chunks may end in the prompt or in the answer so far. */
static void test_resumed(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    static const setting settings[] = {
        {.draft = true, .sequences = 2, .chunk = 64},
        {.draft = true, .sequences = 1, .chunk = 5},
        {.sequences = 1, .chunk = 7},
    };
    answer plain[QUERIES], resumed;
    run_setting(checkpoint, model, &(setting){.sequences = 1, .chunk = 64}, false, plain);
    for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
        machine m;
        int64_t tokens = 0;
        machine_make(checkpoint, model, &settings[s], &m);
        for (int i = 0; i < QUERIES; i++)
            for (int32_t cut = 1; cut < plain[i].count; cut += 1 + cut / 2) {
                slip_query query = query_of(model, i);
                query.resumed = plain[i].tokens;
                query.resumed_count = cut;
                assert_int_equal(slip_decoder_admit(m.decoder, 0, &query), SLIP_OK);
                while (slip_decoder_busy(m.decoder)) {
                    assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
                    const slip_sequence *sequence = slip_decoder_sequence(m.decoder, 0);
                    assert_true(sequence->count - sequence->fresh >= cut);
                }
                take_answer(&m, 0, &resumed);
                assert_int_equal(resumed.count, plain[i].count);
                assert_memory_equal(resumed.tokens, plain[i].tokens, (size_t)resumed.count * sizeof *resumed.tokens);
                assert_string_equal(resumed.reason, plain[i].reason);
                tokens += resumed.count - cut;
            }
        assert_int_equal(slip_decoder_metrics(m.decoder)->tokens, tokens);
        machine_free(&m);
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
    assert_int_equal(slip_decoder_vacancy(m.decoder, &query), 0);
    assert_false(slip_decoder_busy(m.decoder));
    assert_int_equal(slip_decoder_admit(m.decoder, 0, &query), SLIP_OK);
    assert_int_equal(slip_decoder_vacancy(m.decoder, &query), -1);
    while (slip_decoder_sequence(m.decoder, 0)->count < 6)
        assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
    slip_decoder_stop(m.decoder, 0, 4);
    assert_int_equal(slip_decoder_sequence(m.decoder, 0)->count, 4);
    assert_string_equal(slip_decoder_sequence(m.decoder, 0)->finish_reason, "stop");
    assert_false(slip_decoder_busy(m.decoder));
    slip_decoder_release(m.decoder, 0);
    assert_int_equal(slip_decoder_vacancy(m.decoder, &query), 0);
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
    slip_query query = query_of(model, 3);
    query.sampling.presence_penalty = 0; /* it tells a prompt from an answer */
    slip_query longer = query;
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

/* A block that the limit of tokens cuts counts the drafts that came into the answer. */
static void test_acceptance_of_a_cut_block(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    machine m;
    machine_make(checkpoint, model, &(setting){.draft = true, .sequences = 1, .chunk = 64, .forced = 8}, &m);
    slip_query query = query_of(model, 5);
    query.max_tokens = 12; /* the first comes from the prompt, then 8, then 3: the bonus token and 2 drafts */
    assert_int_equal(slip_decoder_admit(m.decoder, 0, &query), SLIP_OK);
    while (slip_decoder_busy(m.decoder))
        assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
    const slip_acceptance *record = &slip_decoder_sequence(m.decoder, 0)->acceptance;
    assert_true(record->steps == 2 && record->accepted == 7 + 2 && record->histogram[7] == 1 && record->histogram[2] == 1);
    machine_free(&m);
}

/* Where a step has no rows for all prompts, the request admitted first is read first, whatever its slot. */
static void test_prompts_in_order_of_admission(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    for (int32_t first = 0; first < 2; first++) {
        machine m;
        machine_make(checkpoint, model, &(setting){.sequences = 2, .chunk = 64}, &m);
        slip_query longest = query_of(model, 5), other = query_of(model, 4); /* 70 and 40 tokens, and a step has 64 rows */
        assert_int_equal(slip_decoder_admit(m.decoder, first, &longest), SLIP_OK);
        assert_int_equal(slip_decoder_admit(m.decoder, 1 - first, &other), SLIP_OK);
        assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
        assert_int_equal(slip_decoder_sequence(m.decoder, first)->prefilled, 64);
        assert_int_equal(slip_decoder_sequence(m.decoder, 1 - first)->prefilled, 0);
        machine_free(&m);
    }
}

/* A filter that leaves every token in changes nothing, though its samples are taken another way. */
static void test_filter_that_filters_nothing(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    int32_t tokens[2][LONGEST];
    for (int filtered = 0; filtered < 2; filtered++) {
        machine m;
        machine_make(checkpoint, model, &(setting){.sequences = 1, .chunk = 64}, &m);
        slip_query query = query_of(model, 3);
        query.sampling = (slip_sampling){.seed = 5, .temperature = 1.3, .top_p = 1, .top_k = filtered ? model->vocabulary : 0};
        query.wishes = (slip_row_wishes){0}; /* any would take both the one way */
        assert_int_equal(slip_sampling_filters(&query.sampling), filtered);
        assert_int_equal(slip_decoder_admit(m.decoder, 0, &query), SLIP_OK);
        while (slip_decoder_busy(m.decoder))
            assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
        memcpy(tokens[filtered], slip_decoder_sequence(m.decoder, 0)->tokens, sizeof tokens[filtered]);
        machine_free(&m);
    }
    assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
}

/* However small the budget, a prompt gets 8 rows of a step in which another sequence decodes, and the earliest admission gets them first. */
static void test_step_budget(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    machine m;
    machine_make(checkpoint, model, &(setting){.sequences = 3, .chunk = 64, .budget = 1e-6}, &m);
    static const int queries[] = {0, 5, 4}; /* prompts of 1, 70 and 40 tokens */
    for (int32_t slot = 0; slot < 3; slot++) {
        slip_query query = query_of(model, queries[slot]);
        assert_int_equal(slip_decoder_admit(m.decoder, slot, &query), SLIP_OK);
        if (slot == 0)
            assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
    }
    const slip_sequence *earlier = slip_decoder_sequence(m.decoder, 1), *later = slip_decoder_sequence(m.decoder, 2);
    for (int32_t step = 1; step <= 13; step++) {
        int32_t read = step * SLIP_BUDGET_LEAST;
        assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
        assert_int_equal(slip_decoder_sequence(m.decoder, 0)->count, 1 + step); /* nobody waits for the prompts */
        assert_int_equal(earlier->prefilled, read < 70 ? read : 70);
        assert_int_equal(later->prefilled, read < 70 ? 0 : read - 70);
    }
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
        cmocka_unit_test(test_same_tokens),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_end_of_text),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_forced_acceptance),
        cmocka_unit_test(test_acceptance_of_a_cut_block),
        cmocka_unit_test(test_prompts_in_order_of_admission),
        cmocka_unit_test(test_filter_that_filters_nothing),
        cmocka_unit_test(test_draft_context),
        cmocka_unit_test(test_end_of_text_inside_a_block),
        cmocka_unit_test(test_steps_ahead),
        cmocka_unit_test(test_step_budget),
        cmocka_unit_test(test_prompts_first),
    };
    return cmocka_run_group_tests(tests, open_fixture, tiny_checkpoint_close);
}
