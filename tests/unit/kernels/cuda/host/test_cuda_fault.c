/* Fault injection: a number is taken, anything else refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/host/fault.h"

static void test_none(void **state)
{
    (void)state;
    int op = 7;
    unsetenv("SLIPSTREAM_DROP_SIGNAL");
    assert_int_equal(slip_cuda_fault(&op), SLIP_OK);
    assert_int_equal(op, -1);
}

static void test_number(void **state)
{
    (void)state;
    int op;
    setenv("SLIPSTREAM_DROP_SIGNAL", "20", 1);
    assert_int_equal(slip_cuda_fault(&op), SLIP_OK);
    assert_int_equal(op, 20);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "-1", "3x", "three", "2147483648", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int op = 7;
        setenv("SLIPSTREAM_DROP_SIGNAL", bad[i], 1);
        assert_int_equal(slip_cuda_fault(&op), SLIP_ERR_INPUT);
        assert_int_equal(op, -1);
        assert_non_null(strstr(slip_cause(), "SLIPSTREAM_DROP_SIGNAL"));
        slip_clear();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_none), cmocka_unit_test(test_number), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
