/* How much to draft: from scripted times and acceptance alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "coordinator/pace/pace.h"

enum { BLOCK = 8, MOST = 16 };

/* A device: what a step takes by its rows, and a draft by its sequences. */
typedef struct {
    double fixed, row, draft;
} device;

static const device memory_binds = {10, 0.01, 1}, arithmetic_binds = {0, 5, 5}, in_between = {6, 1, 2};

static double step_ms(const device *d, int32_t rows)
{
    return d->fixed + d->row * rows;
}

/* Sequences that decode together, and what came of it. */
typedef struct {
    slip_pace pace;
    slip_chances chances[MOST];
    int32_t count, room;
    int32_t accepted[MOST]; /* of each block: that many drafts at most are right */
    int32_t rows[MOST];     /* of the last step */
    double tokens, ms;
    int steps, drafted, of_length[BLOCK + 1]; /* sequences' steps by rows */
} batch;

static void begin(batch *b, int32_t count, int32_t accepted)
{
    *b = (batch){.count = count, .room = 512};
    for (int32_t i = 0; i < count; i++)
        b->accepted[i] = accepted;
}

static void step(batch *b, const device *d)
{
    const slip_chances *chances[MOST];
    int32_t total = 0, drafted = 0, tokens = 0;
    for (int32_t i = 0; i < b->count; i++)
        chances[i] = &b->chances[i];
    slip_pace_choose(&b->pace, BLOCK, b->room, b->count, chances, b->rows);
    for (int32_t i = 0; i < b->count; i++) {
        int32_t drafts = b->rows[i] - 1, right = drafts < b->accepted[i] ? drafts : b->accepted[i];
        assert_true(drafts >= 0 && drafts < BLOCK);
        slip_pace_count(&b->pace, &b->chances[i], drafts, right);
        total += b->rows[i];
        drafted += drafts > 0;
        tokens += 1 + right;
        b->of_length[b->rows[i]]++;
    }
    assert_true(total <= b->room);
    slip_pace_record(&b->pace, total, step_ms(d, total));
    if (drafted > 0)
        slip_pace_record_draft(&b->pace, drafted, d->draft * drafted, tokens, 0);
    b->tokens += tokens;
    b->ms += step_ms(d, total) + (drafted > 0 ? d->draft * drafted : 0);
    b->drafted += drafted > 0;
    b->steps++;
}

/* So many steps, counted anew. */
static void go(batch *b, const device *d, int steps)
{
    b->tokens = b->ms = 0;
    b->steps = b->drafted = 0;
    memset(b->of_length, 0, sizeof b->of_length);
    while (b->steps < steps)
        step(b, d);
}

static void test_begins_with_all_and_with_nothing(void **state)
{
    (void)state;
    batch b;
    begin(&b, 2, 3);
    step(&b, &in_between);
    assert_true(b.rows[0] == BLOCK && b.rows[1] == BLOCK);
    step(&b, &in_between); /* is in proportion cheaper, as long as nobody knows */
    assert_true(b.rows[0] == 1 && b.rows[1] == 1);
    for (int i = 0; i < 64; i++)
        step(&b, &in_between);
    assert_true(b.of_length[2] > 0 && b.of_length[4] > 0); /* every length is tried */
}

static void test_rows_that_cost_nothing(void **state)
{
    (void)state;
    batch b;
    begin(&b, 1, 3);
    go(&b, &memory_binds, 1000);
    assert_true(b.drafted > 950 && b.drafted < 1000); /* a plain step is timed again */
    begin(&b, 4, 7);
    go(&b, &memory_binds, 1000);
    assert_true(b.of_length[BLOCK] > 4 * 950);
    assert_true(b.tokens / b.ms > 0.95 * 4 * 8 / (step_ms(&memory_binds, 32) + 4 * memory_binds.draft));
}

static void test_rows_that_cost_much(void **state)
{
    (void)state;
    batch b;
    begin(&b, 1, 1);
    go(&b, &arithmetic_binds, 1000);
    assert_true(b.drafted >= 5 && b.drafted < 30);
    assert_true(b.tokens / b.ms > 0.95 / step_ms(&arithmetic_binds, 1));
    begin(&b, 8, 1);
    go(&b, &arithmetic_binds, 1000);
    assert_true(b.drafted < 30);
}

/* Half a block is worth more than all of it, or nothing. */
static void test_a_part_of_the_block(void **state)
{
    (void)state;
    batch b;
    begin(&b, 1, 3);
    go(&b, &in_between, 100);
    go(&b, &in_between, 1000);
    assert_true(b.of_length[4] > 900);
}

/* The text or the device changes: the choice follows in a bounded number of steps. */
static void test_change(void **state)
{
    (void)state;
    batch b;
    begin(&b, 1, 0);
    go(&b, &in_between, 3000);
    assert_true(b.drafted > 0 && b.drafted < 60);
    b.accepted[0] = 7;
    go(&b, &in_between, 1200); /* waits for the next tries: they are rare by now */
    go(&b, &in_between, 200);
    assert_true(b.of_length[BLOCK] > 180);
    b.accepted[0] = 0;
    go(&b, &in_between, 100);
    go(&b, &in_between, 500); /* what all blocks before it said is forgotten more slowly */
    go(&b, &in_between, 1000);
    assert_true(b.drafted < 30);
    begin(&b, 3, 3);
    go(&b, &arithmetic_binds, 500);
    assert_true(b.drafted < 30);
    go(&b, &memory_binds, 4000);
    go(&b, &memory_binds, 200);
    assert_true(b.drafted > 180);
}

/* One sequence repeats itself, another is drafted for in vain, and a third half so: each has its length. */
static void test_lengths_of_a_step_differ(void **state)
{
    (void)state;
    static const device cheap_draft = {9, 1, 0.3};
    batch b;
    int differ = 0, rows[3] = {0};
    begin(&b, 3, 0);
    b.accepted[1] = 7;
    b.accepted[2] = 1;
    go(&b, &cheap_draft, 200);
    for (int i = 0; i < 200; i++) {
        step(&b, &cheap_draft);
        differ += b.rows[1] == BLOCK && b.rows[2] == 2 && b.rows[0] == 1;
        for (int k = 0; k < 3; k++)
            rows[k] += b.rows[k];
    }
    assert_true(differ > 100); /* in the others the first is tried again: the second's success is every sequence's hope */
    assert_true(rows[1] > 200 * 7 && rows[2] < 200 * 5);
}

/* The rows of a step are given to who makes most of them. */
static void test_room(void **state)
{
    (void)state;
    batch b;
    int first = 0;
    begin(&b, 4, 0);
    b.accepted[2] = 7;
    b.room = 14; /* a step asserts it */
    go(&b, &memory_binds, 200);
    for (int i = 0; i < 100; i++) {
        step(&b, &memory_binds);
        first += b.rows[2] == BLOCK;
    }
    assert_true(first > 90);
    begin(&b, 4, 7);
    b.room = 4;
    go(&b, &memory_binds, 100);
    assert_int_equal(b.drafted, 0);
}

/* A block that is not a multiple of four is a length itself, and none goes beyond it. */
static void test_other_blocks(void **state)
{
    (void)state;
    static const int32_t blocks[] = {2, 3, 5, 6, 8, 12, 16, SLIP_MAX_BLOCK};
    for (size_t k = 0; k < sizeof blocks / sizeof *blocks; k++) {
        slip_pace pace = {0};
        slip_chances sequence = {0};
        const slip_chances *chances = &sequence;
        bool taken[SLIP_MAX_BLOCK + 1] = {0};
        for (int i = 0; i < 2000; i++) {
            int32_t rows = 0;
            slip_pace_choose(&pace, blocks[k], 512, 1, &chances, &rows);
            assert_true(rows >= 1 && rows <= blocks[k] && (rows <= 2 || rows % 4 == 0 || rows == blocks[k]));
            taken[rows] = true;
            slip_pace_count(&pace, &sequence, rows - 1, rows - 1);
            slip_pace_record(&pace, rows, 10);
            slip_pace_record_draft(&pace, 1, 1, rows, 0);
        }
        for (int32_t rows = 4; rows < blocks[k] && rows <= 16; rows += 4) /* beyond, lengths share a mean */
            assert_true(taken[rows]);
        assert_true(taken[1] && taken[2] && taken[blocks[k]]);
    }
}

/* What a token costs to become context counts with the draft. */
static void test_context(void **state)
{
    (void)state;
    slip_pace pace = {0};
    slip_chances sequence = {0};
    const slip_chances *chances = &sequence;
    int drafted = 0;
    for (int i = 0; i < 300; i++) {
        int32_t rows = 0;
        slip_pace_choose(&pace, BLOCK, 512, 1, &chances, &rows);
        drafted += rows > 1;
        slip_pace_count(&pace, &sequence, rows - 1, rows - 1);
        slip_pace_record(&pace, rows, 10);
        if (rows > 1)
            slip_pace_record_draft(&pace, 1, 1, 8, 8 * 12.0);
    }
    assert_true(drafted < 30);
}

static void test_one_slow_step(void **state)
{
    (void)state;
    batch b;
    begin(&b, 1, 7);
    go(&b, &in_between, 200);
    slip_pace_record(&b.pace, BLOCK, 1000 * step_ms(&in_between, BLOCK));
    assert_true(slip_pace_ms(&b.pace, BLOCK, 0) < 1.2 * step_ms(&in_between, BLOCK));
    go(&b, &in_between, 20);
    assert_true(b.of_length[BLOCK] >= 17);
}

/* ---- times ---- */

static void test_times(void **state)
{
    (void)state;
    slip_step_times times = {0};
    assert_true(slip_step_times_ms(&times, 5) == 0 && slip_step_times_when(&times, 5) == 0);
    slip_step_times_add(&times, 8, 16, 3);
    assert_true(slip_step_times_ms(&times, 4) == 8 && slip_step_times_ms(&times, 8) == 16 && slip_step_times_ms(&times, 512) == 16);
    slip_step_times_add(&times, 4, 12, 4);
    assert_true(slip_step_times_ms(&times, 6) == 14 && slip_step_times_ms(&times, 2) == 6);
    slip_step_times_add(&times, 64, 72, 5);
    assert_true(slip_step_times_ms(&times, 36) == 44);
    assert_true(slip_step_times_when(&times, 4) == 4 && slip_step_times_when(&times, 3) == 0);
    assert_true(slip_step_times_when(&times, 49) == 5 && slip_step_times_when(&times, 65) == 0); /* two an octave */
    for (int32_t size = 1; size <= SLIP_MAX_ROWS; size++) {
        slip_step_times one = {0};
        slip_step_times_add(&one, size, 1, 1);
        assert_true(slip_step_times_ms(&one, size) == 1 && slip_step_times_when(&one, size) == 1);
    }
}

/* ---- chances ---- */

static void test_chances(void **state)
{
    (void)state;
    slip_chances all = {0}, sequence = {0};
    double tokens[BLOCK], before[BLOCK];
    slip_chances_expect(&sequence, &all, BLOCK, before);
    assert_true(before[0] == 1 && before[1] > 1.5 && before[1] < 2);
    for (int j = 1; j < BLOCK; j++)
        assert_true(before[j] > before[j - 1]);
    /* What was not verified, or stood behind a refusal, says nothing. */
    slip_chances_count(&sequence, 3, 1);
    assert_true(sequence.tried[0] == 1 && sequence.accepted[0] == 1 && sequence.tried[1] == 1 && sequence.accepted[1] == 0);
    assert_true(sequence.tried[2] == 0);
    slip_chances_count(&sequence, 2, 2);
    assert_true(sequence.tried[1] == 2 && sequence.accepted[1] == 1 && sequence.tried[2] == 0);
    /* Blocks that are cut do not make the next drafts look worse. */
    sequence = (slip_chances){0};
    for (int i = 0; i < 50; i++)
        slip_chances_count(&sequence, 1, 1);
    slip_chances_expect(&sequence, &all, BLOCK, tokens);
    assert_true(tokens[1] > 1.95 && tokens[7] > before[7]);
    /* Who has shown nothing is taken to be like the others. */
    for (int i = 0; i < 50; i++)
        slip_chances_count(&all, 7, 0);
    slip_chances_expect(&(slip_chances){0}, &all, BLOCK, tokens);
    assert_true(tokens[7] < 1.15);
    for (int i = 0; i < 40; i++)
        slip_chances_fade(&sequence, SLIP_CHANCES_KEPT);
    slip_chances_expect(&sequence, &all, BLOCK, tokens);
    assert_true(tokens[7] < 1.15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_with_all_and_with_nothing),
        cmocka_unit_test(test_rows_that_cost_nothing),
        cmocka_unit_test(test_rows_that_cost_much),
        cmocka_unit_test(test_a_part_of_the_block),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_lengths_of_a_step_differ),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_other_blocks),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_one_slow_step),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_chances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
