/* How long a wait has lasted: polls close together add up to the clock's time, and a gap in which the process did not run counts for a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/base/clock.h"

static void test_polls(void **state)
{
    (void)state;
    slip_timer timer = slip_timer_start(1000);
    double waited = 0;
    for (int i = 1; i <= 480; i++)
        waited = slip_timer_read(&timer, 1000 + 0.25 * i);
    assert_true(waited == 120);
}

static void test_gaps(void **state)
{
    (void)state;
    slip_timer timer = slip_timer_start(1000);
    assert_true(slip_timer_read(&timer, 1000.5) == 0.5);
    assert_true(slip_timer_read(&timer, 9000) == 1.5);
    assert_true(slip_timer_read(&timer, 9000.25) == 1.75);
    for (int i = 1; i <= 100; i++) /* it ends, however rarely it is read */
        assert_true(slip_timer_read(&timer, 9000.25 + 500 * i) == 1.75 + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_polls), cmocka_unit_test(test_gaps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
