/* The device's form of a step says what the step says. No GPU is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/lower/lower.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_model.h"
#include "lowered.h"

/* Rows 0..4 of one sequence at position 30, 5..17 of another at 0: the second is cut where row groups end. */
static void test_step(void **state)
{
    (void)state;
    static slip_step step;
    static slip_cuda_step out;
    lowered l;
    int32_t tokens[13];
    for (int32_t i = 0; i < 13; i++)
        tokens[i] = 40 + i;
    make(&l, false, SLIP_BF16);
    tiny_step_start(&step);
    tiny_step_add(&step, 2, 30, tokens, 5, 5)->sampling.seed = 77;
    tiny_step_add(&step, 0, 0, tokens, 13, 1)->sampling.temperature = 0.5;
    slip_cuda_step_fill(&l.program, &step, &out);
    assert_int_equal(out.rows, 18);
    assert_int_equal(out.logit_rows, 6);
    assert_int_equal(out.runs, 4); /* 0..4 | 5..7, 8..15, 16..17 */
    assert_true(out.split_runs);
    static const int32_t row[] = {0, 5, 8, 16}, count[] = {5, 3, 8, 2};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(out.run[i].row, row[i]);
        assert_int_equal(out.run[i].count, count[i]);
        assert_int_equal(out.run[i].position, out.row[row[i]].position);
        assert_int_equal(out.run[i].base, i == 0 ? 2 * TINY_EXTENT : 0);
        assert_int_equal(out.row[row[i]].base, out.run[i].base);
    }
    assert_int_equal(out.row[4].last, 34);
    assert_int_equal(out.logit_row[0].seed, 77);
    assert_int_equal(out.logit_row[0].position, 31);
    assert_int_equal(out.logit_row[5].row, 17);
    assert_int_equal(out.logit_row[5].position, 13);
    assert_true(out.logit_row[5].temperature == 0.5);
    assert_true(out.logit_row[0].open == SLIP_ALL_BINS && out.logit_row[5].open == SLIP_ALL_BINS);
    l.program.cache[0].whole_block = true; /* a draft's block sees all of itself */
    slip_cuda_step_fill(&l.program, &step, &out);
    assert_int_equal(out.row[0].last, 34);
    unmake(&l);
}

/* The widest step, its borders between sequences as many as there are and none at that of a row group: all runs have room. */
static void test_most_runs(void **state)
{
    (void)state;
    static slip_step step;
    static slip_cuda_step out;
    static int32_t tokens[SLIP_MAX_ROWS];
    lowered l;
    make(&l, false, SLIP_BF16);
    tiny_step_start(&step);
    for (int32_t s = 0; s < SLIP_MAX_SPANS; s++)
        tiny_step_add(&step, s, 0, tokens,
                      s == 0                   ? SLIP_TOKENS / 2
                      : s < SLIP_MAX_SPANS - 1 ? SLIP_TOKENS
                                               : SLIP_MAX_ROWS - step.row_count,
                      1);
    slip_cuda_step_fill(&l.program, &step, &out);
    assert_int_equal(out.rows, SLIP_MAX_ROWS);
    assert_int_equal(out.runs, SLIP_MAX_RUNS - 1);
    const slip_cuda_run *last = &out.run[out.runs - 1];
    assert_true(last->row + last->count == SLIP_MAX_ROWS && last->position + last->count == out.row[SLIP_MAX_ROWS - 1].position + 1);
    assert_int_equal(out.logit_row[SLIP_MAX_SPANS - 1].row, SLIP_MAX_ROWS - 1);
    unmake(&l);
}

/* Which rows have histograms, and what of a row takes part when it is sampled again. */
static void test_sampling(void **state)
{
    (void)state;
    static slip_step step;
    static slip_cuda_step out;
    static const slip_sampling samplings[] = {{.temperature = 1, .top_p = 0.9},
                                              {.temperature = 1, .top_p = 1},
                                              {.temperature = 0, .top_p = 0.9},
                                              {.temperature = 1e-9, .top_p = 0.9},
                                              {.temperature = 0.6, .top_p = 1, .top_k = 3}};
    const int32_t token = 7;
    lowered l;
    make(&l, false, SLIP_BF16);
    tiny_step_start(&step);
    for (int32_t i = 0; i < 5; i++) {
        tiny_step_add(&step, i % SEQUENCES, 3 + i, &token, 1, 1)->sampling = samplings[i];
        step.open[i] = i == 3 ? SLIP_NO_BINS : -40 - i;
    }
    step.want = SLIP_WANT_HISTOGRAMS;
    slip_cuda_step_fill(&l.program, &step, &out);
    assert_int_equal(out.want, SLIP_WANT_HISTOGRAMS);
    for (int32_t i = 0; i < 5; i++) {
        assert_int_equal(out.logit_row[i].histogram, i == 0 || i == 4);
        assert_int_equal(out.logit_row[i].open, SLIP_ALL_BINS);
    }
    step.again = 1;
    slip_cuda_step_fill(&l.program, &step, &out);
    for (int32_t i = 0; i < 5; i++)
        assert_int_equal(out.logit_row[i].open, step.open[i]);
    unmake(&l);
}

/* What a step adjusts: each span's part of the list, the rows that it changes, and room for what was there before. */
static void test_adjusting(void **state)
{
    (void)state;
    static slip_step step;
    static slip_cuda_step out;
    static slip_cuda_adjusting list;
    static const slip_adjustment adjustments[] = {{5, 3, 0}, {7, 0, 1}, {9, 2, -1}};
    const int32_t tokens[] = {1, 2, 3, 4, 5, 6};
    lowered l;
    make(&l, false, SLIP_BF16);
    tiny_step_start(&step);
    tiny_step_add(&step, 0, 3, tokens, 4, 4)->adjustments = 2;
    tiny_step_add(&step, 1, 0, tokens, 6, 1);
    tiny_step_add(&step, 2, 8, tokens, 5, 2)->adjustments = 1;
    step.span[2].sampling = (slip_sampling){.temperature = 1, .top_k = 4, .frequency_penalty = 0.5};
    step.again = 1;
    step.want = SLIP_WANT_HISTOGRAMS;
    step.adjust = SLIP_ADJUST_APPLY;
    step.adjustments = adjustments;
    step.adjustment_count = 3;
    for (int32_t at = 0; at < 7; at++)
        step.open[at] = at < 6 ? SLIP_NO_BINS : SLIP_ALL_BINS;
    slip_cuda_step_fill(&l.program, &step, &out);
    assert_true(out.adjust == SLIP_ADJUST_APPLY && !out.logit_row[5].histogram && out.logit_row[6].histogram);
    slip_cuda_step_list(&step, &list);
    assert_int_equal(list.spans, 2);
    assert_memory_equal(list.adjustment, adjustments, sizeof adjustments);
    const slip_cuda_adjusted_span *a = &list.span[0], *b = &list.span[1];
    assert_true(a->first == 0 && a->count == 2 && a->logit_row == 0 && a->logit_rows == 4 && a->row == 0 && a->saved == 0);
    assert_true(b->first == 2 && b->count == 1 && b->logit_row == 5 && b->logit_rows == 2 && b->row == 13 && b->saved == 8);
    assert_true(b->sampling.frequency_penalty == 0.5);
    step.again = 0;
    step.adjust = SLIP_ADJUST_NOTHING;
    step.span[2].adjustments = SLIP_ADJUSTED_LATER;
    slip_cuda_step_fill(&l.program, &step, &out);
    assert_true(!out.adjust && !out.logit_row[6].histogram);
    unmake(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_step), cmocka_unit_test(test_most_runs), cmocka_unit_test(test_sampling),
                                       cmocka_unit_test(test_adjusting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
