/* Status codes and exit statuses: what scripts and Slurm are told (docs/cluster.md). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/base/status.h"

static void test_exit_statuses(void **state)
{
    (void)state;
    assert_int_equal(slip_exit_status(SLIP_OK), 0);
    assert_int_equal(slip_exit_status(SLIP_ERR_FAILED), 1);
    assert_int_equal(slip_exit_status(SLIP_ERR_INPUT), 2);
    assert_int_equal(slip_exit_status(SLIP_ERR_SOME_FAILED), 3);
    assert_int_equal(slip_exit_status(SLIP_ERR_INTERRUPTED), 75);
}

/* Who fails first knows why; what fails because of it adds nothing. */
static void test_first_cause_stands(void **state)
{
    (void)state;
    slip_clear();
    assert_string_equal(slip_cause(), "");
    assert_int_equal(slip_fail(SLIP_ERR_INPUT, "model.h5: field %d", 7), SLIP_ERR_INPUT);
    assert_int_equal(slip_fail(SLIP_ERR_FAILED, "cannot go on"), SLIP_ERR_FAILED);
    assert_string_equal(slip_cause(), "model.h5: field 7");
    slip_clear();
    assert_string_equal(slip_cause(), "");
    (void)slip_fail(SLIP_ERR_FAILED, "another");
    assert_string_equal(slip_cause(), "another");
    slip_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exit_statuses), cmocka_unit_test(test_first_cause_stands)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
