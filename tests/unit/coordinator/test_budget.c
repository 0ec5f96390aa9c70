/* The step budget: rows of prompts by what a row was measured to cost. */
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
    assert_int_equal(slip_budget_rows(&budget, 20, 10), 20);
    assert_int_equal(slip_budget_rows(&budget, 20, 19), SLIP_BUDGET_LEAST);
    assert_int_equal(slip_budget_rows(&budget, 20, 50), SLIP_BUDGET_LEAST);
    assert_int_equal(slip_budget_rows(&budget, 1e30, 0), INT32_MAX);
}

static void test_record(void **state)
{
    (void)state;
    slip_budget budget = {0};
    slip_budget_record(&budget, 0, 0, 10); /* no prompt was read */
    slip_budget_record(&budget, 8, 10, 9); /* faster than decoding alone: says nothing */
    assert_true(budget.row_ms == 0);
    for (int i = 0; i < 200; i++)
        slip_budget_record(&budget, 8, 10, 18);
    assert_true(budget.row_ms > 0.99 && budget.row_ms < 1.01);
    slip_budget_record(&budget, 8, 10, 1000); /* another program's turn */
    assert_true(budget.row_ms < 1.2);
    for (int i = 0; i < 200; i++)
        slip_budget_record(&budget, 8, 10, 42); /* longer prompts */
    assert_true(budget.row_ms > 3.9 && budget.row_ms < 4.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_record)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
