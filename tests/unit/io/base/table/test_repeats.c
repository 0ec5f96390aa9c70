/* Names that come more than once, among many that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/base/table/repeats.h"

enum { NAMES = 200000, EACH = 1000 };

static slip_hash128 name_of(int64_t i)
{
    return slip_hash128_on(SLIP_HASH128_START, &i, sizeof i);
}

/* Every EACH-th name is one of the ten that come again and again. */
static int64_t place(int64_t i)
{
    return i % EACH == 0 ? i / EACH % 10 : 100 + i;
}

static void read_first(slip_repeats *repeats)
{
    for (int64_t i = 0; i < NAMES; i++)
        assert_int_equal(slip_repeats_add(repeats, name_of(place(i)), false), SLIP_OK);
}

static void test_counts(void **state)
{
    (void)state;
    slip_repeats repeats = {0};
    uint64_t before;
    bool same;
    read_first(&repeats);
    assert_true(repeats.repeated.used >= 10 && repeats.repeated.used < 20);
    for (int reading = 0; reading < 2; reading++) {
        for (int64_t i = 0; i < NAMES; i++) {
            assert_int_equal(slip_repeats_next(&repeats, name_of(place(i)), &before, &same), SLIP_OK);
            assert_true(same);
            assert_int_equal(before, i % EACH == 0 ? i / EACH / 10 : 0);
        }
        slip_repeats_rewind(&repeats);
    }
    slip_repeats_free(&repeats);
}

/* A name that was not there, and one that came once, a second time. */
static void test_changed_names(void **state)
{
    (void)state;
    slip_repeats repeats = {0};
    uint64_t before;
    bool same;
    read_first(&repeats);
    assert_int_equal(slip_repeats_next(&repeats, name_of(-5), &before, &same), SLIP_OK);
    assert_false(same);
    assert_int_equal(slip_repeats_next(&repeats, name_of(103), &before, &same), SLIP_OK);
    assert_true(same);
    assert_int_equal(slip_repeats_next(&repeats, name_of(103), &before, &same), SLIP_OK);
    assert_false(same);
    slip_repeats_free(&repeats);
}

static void test_keeps(void **state)
{
    (void)state;
    slip_repeats repeats = {0};
    uint64_t before;
    bool same;
    assert_int_equal(slip_repeats_add(&repeats, name_of(1), true), SLIP_OK);
    assert_int_equal(slip_repeats_add(&repeats, name_of(2), false), SLIP_OK);
    assert_true(slip_repeats_has(&repeats, name_of(1)));
    assert_false(slip_repeats_has(&repeats, name_of(2)));
    assert_int_equal(slip_repeats_next(&repeats, name_of(1), &before, &same), SLIP_OK);
    assert_true(same && before == 0);
    slip_repeats_free(&repeats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_changed_names),
        cmocka_unit_test(test_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
