/* The step budget: rows of prompts by what so many were measured to cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/budget.h"

static void test_rows(void **state)
{
    (void)state;
    slip_budget budget = {0};
    assert_int_equal(slip_budget_rows(&budget, 1000, 0), SLIP_BUDGET_LEAST);
    slip_budget_record(&budget, 64, 0, 32); /* half a millisecond a row */
    assert_int_equal(slip_budget_rows(&budget, 20, 10), SLIP_BUDGET_LEAST);
    slip_budget_record(&budget, 8, 0, 4);
    assert_int_equal(slip_budget_rows(&budget, 20, 10), 20);
    assert_int_equal(slip_budget_rows(&budget, 20, 19), SLIP_BUDGET_LEAST);
    assert_int_equal(slip_budget_rows(&budget, 20, 50), SLIP_BUDGET_LEAST);
    assert_int_equal(slip_budget_rows(&budget, 64, 0), 128);
    assert_int_equal(slip_budget_rows(&budget, 1e30, 0), SLIP_MAX_ROWS);
}

/* A device whose steps cost 10 ms and 0.05 ms a row: after a few steps, none of which takes more than twice the budget, they fit it. */
static void test_weights_are_read_anyway(void **state)
{
    (void)state;
    slip_budget budget = {0};
    int32_t rows = 0;
    slip_budget_record(&budget, SLIP_MAX_ROWS, 0, 10 + 0.05 * SLIP_MAX_ROWS);
    for (int step = 0; step < 40; step++) {
        rows = slip_budget_rows(&budget, 40, 10);
        const double added = 10 + 0.05 * rows;
        assert_true(added <= 60);
        slip_budget_record(&budget, rows, 10, 10 + added);
    }
    assert_in_range(rows, 300, 420);
}

static void test_record(void **state)
{
    (void)state;
    slip_budget budget = {0};
    slip_budget_record(&budget, 0, 0, 10); /* no prompt was read */
    slip_budget_record(&budget, 8, 10, 9); /* faster than decoding alone: says nothing */
    assert_true(budget.largest == 0 && slip_budget_rows(&budget, 1e30, 0) == SLIP_BUDGET_LEAST);
    for (int i = 0; i < 200; i++)
        slip_budget_record(&budget, 8, 10, 18); /* a millisecond a row */
    assert_in_range(slip_budget_rows(&budget, 110, 10), 99, 101);
    slip_budget_record(&budget, 8, 10, 1000); /* another program's turn */
    assert_true(slip_budget_rows(&budget, 110, 10) >= 80);
    for (int i = 0; i < 200; i++)
        slip_budget_record(&budget, 8, 10, 42); /* longer prompts */
    assert_in_range(slip_budget_rows(&budget, 110, 10), 24, 26);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_weights_are_read_anyway),
                                       cmocka_unit_test(test_record)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
