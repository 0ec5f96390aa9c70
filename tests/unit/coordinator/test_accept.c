/* Acceptance and its record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/accept.h"

static void test_prefix(void **state)
{
    (void)state;
    const int32_t drafts[] = {5, 6, 7, 8, 9, 10, 11};
    const int32_t same[] = {5, 6, 7, 8, 9, 10, 11, 12};
    assert_int_equal(slip_accept_prefix(drafts, same, 7), 7);
    assert_int_equal(slip_accept_prefix(drafts, same, 3), 3);
    assert_int_equal(slip_accept_prefix(drafts, same, 0), 0);
    for (int differs = 0; differs < 7; differs++) { /* what agrees behind a difference does not count */
        int32_t samples[8];
        for (int i = 0; i < 8; i++)
            samples[i] = same[i] + (i == differs);
        assert_int_equal(slip_accept_prefix(drafts, samples, 7), differs);
    }
}

static void test_record(void **state)
{
    (void)state;
    slip_acceptance one = {0}, sum = {0};
    assert_true(slip_acceptance_mean(&one) == 1);
    slip_acceptance_count(&one, 7, 7);
    slip_acceptance_count(&one, 7, 0);
    slip_acceptance_count(&one, 7, 2);
    assert_true(one.steps == 3 && one.draft_tokens == 21 && one.accepted == 9);
    assert_true(one.histogram[0] == 1 && one.histogram[2] == 1 && one.histogram[7] == 1 && one.histogram[1] == 0);
    assert_true(slip_acceptance_mean(&one) == 4); /* 1 + 9 / 3: the bonus token counts */
    slip_acceptance_add(&sum, &one);
    slip_acceptance_add(&sum, &one);
    assert_true(sum.steps == 6 && sum.draft_tokens == 42 && sum.accepted == 18 && sum.histogram[7] == 2);
    assert_true(slip_acceptance_mean(&sum) == 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prefix), cmocka_unit_test(test_record)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
