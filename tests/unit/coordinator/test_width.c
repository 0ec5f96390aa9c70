/* How much of a block is verified: by measured times and agreement alone, always within the block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/width.h"

/* A device whose step takes `fixed` and `row` ms a row, a text whose drafts agree up to `accepted`. Returns the mean rows of the last half. */
static double settle(slip_width *width, int32_t block, int32_t sequences, double fixed, double row, int32_t accepted, int steps)
{
    slip_agreement agreement = {0};
    double sum = 0;
    for (int i = 0; i < steps; i++) {
        slip_width_begin(width, block);
        int32_t rows = slip_width_rows(width, &agreement, block);
        assert_in_range(rows, 2, block);
        slip_width_record(width, sequences, sequences * rows, fixed + row * sequences * rows);
        slip_agreement_count(&agreement, rows - 1, accepted < rows ? accepted : rows - 1);
        sum += i >= steps / 2 ? rows : 0;
    }
    return sum / (steps - steps / 2);
}

static void test_rows_cost_nothing(void **state)
{
    (void)state;
    slip_width width = {0};
    assert_true(settle(&width, 16, 1, 10, 0, 2, 2000) > 15.9); /* but for trials */
}

static void test_rows_cost_all(void **state)
{
    (void)state;
    slip_width width = {0};
    assert_true(settle(&width, 16, 1, 1, 10, 1, 2000) < 4.2);
    slip_width agreeing = {0};
    assert_true(settle(&agreeing, 16, 1, 10, 1, 15, 2000) > 15.8); /* what always agrees is worth its rows */
}

static void test_between(void **state)
{
    (void)state;
    slip_width width = {0};
    double rows = settle(&width, 16, 3, 30, 1, 4, 2000);
    assert_true(rows > 7.5 && rows < 12.5);
}

/* The device changes: the choice follows. */
static void test_change(void **state)
{
    (void)state;
    slip_width width = {0};
    settle(&width, 8, 1, 1, 10, 1, 500);
    settle(&width, 8, 1, 10, 0, 1, 20000);
    assert_true(settle(&width, 8, 1, 10, 0, 1, 1000) > 7.9);
}

static void test_blocks(void **state)
{
    (void)state;
    for (int32_t block = 2; block <= SLIP_MAX_BLOCK; block++) {
        slip_width width = {0};
        settle(&width, block, 2, 5, 1, 3, 600);
    }
}

/* Nothing is ruled out before it was measured; then the best width's promise counts. */
static void test_rate(void **state)
{
    (void)state;
    slip_width width = {0};
    slip_agreement never = {.hits = 0, .tries = 1000};
    assert_true(slip_width_rate(&width, &never, 8) > 1e300);
    slip_width_record(&width, 2, 16, 40);
    assert_true(slip_width_rate(&width, &never, 8) > 1e300);
    slip_width_record(&width, 2, 8, 20);
    double rate = slip_width_rate(&width, &never, 8);
    assert_true(rate > 0.1 && rate < 0.101); /* one token in 10 ms, a sequence */
    assert_int_equal(slip_width_rows(&width, &never, 8), 4);
}

/* What lies behind the first disagreement was never looked at. */
static void test_agreement(void **state)
{
    (void)state;
    slip_agreement a = {0};
    slip_agreement_count(&a, 7, 2);
    assert_true(a.hits == 2 && a.tries == 3);
    slip_agreement b = {0};
    slip_agreement_count(&b, 3, 3);
    assert_true(b.hits == 3 && b.tries == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_cost_nothing),
        cmocka_unit_test(test_rows_cost_all),
        cmocka_unit_test(test_between),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_agreement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
