/* When to draft: from measured times alone, each side tried again now and then, the losing one ever more rarely. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "coordinator/pace.h"

/* How many of `steps` steps draft where they take these times a sequence. */
static int drafted(slip_pace *pace, int32_t sequences, double expected, double plain_ms, double draft_ms, int steps)
{
    int count = 0;
    for (int i = 0; i < steps; i++) {
        bool drafts = slip_pace_drafts(pace, expected);
        slip_pace_record(pace, sequences, drafts, sequences * (drafts ? draft_ms : plain_ms));
        count += drafts;
    }
    return count;
}

static void test_both_are_measured_first(void **state)
{
    (void)state;
    slip_pace pace = {0};
    assert_true(slip_pace_drafts(&pace, 0));
    slip_pace_record(&pace, 1, true, 10);
    assert_false(slip_pace_drafts(&pace, 5));
    slip_pace_record(&pace, 1, false, 4);
    assert_true(slip_pace_drafts(&pace, 5));  /* 5 tokens in 10 ms against 20 ms */
    assert_false(slip_pace_drafts(&pace, 2)); /* against 8 ms */
}

static void test_what_pays(void **state)
{
    (void)state;
    slip_pace pace = {0};
    int often = drafted(&pace, 1, 4, 5, 10, 1000);
    assert_true(often > 970 && often < 1000); /* plain steps are timed again */
    memset(&pace, 0, sizeof pace);
    int seldom = drafted(&pace, 1, 1.5, 5, 10, 1000);
    assert_true(seldom >= 5 && seldom < 15); /* one in 256 in the long run */
}

/* The times change: the decision follows in a bounded number of steps. */
static void test_change(void **state)
{
    (void)state;
    slip_pace pace = {0};
    drafted(&pace, 3, 2, 5, 20, 500);
    drafted(&pace, 1, 2, 5, 6, 8000); /* times count by sequence: their number may change */
    assert_true(drafted(&pace, 3, 2, 5, 6, 100) > 90);
    drafted(&pace, 3, 2, 5, 20, 200);
    assert_true(drafted(&pace, 3, 2, 5, 20, 100) < 10);
}

/* A pace a size of batch, up to the most sequences of a step. */
static void test_sizes(void **state)
{
    (void)state;
    static const int32_t sequences[] = {1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64};
    static const int sizes[] = {0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(slip_pace_size(sequences[i]), sizes[i]);
    slip_pace pace = {0};
    slip_pace_record(&pace, 4, true, 40);
    assert_true(slip_pace_ms(&pace, 3, true) == 30 && slip_pace_ms(&pace, 3, false) == 0);
}

static void test_one_slow_step(void **state)
{
    (void)state;
    slip_pace pace = {0};
    drafted(&pace, 1, 4, 5, 10, 50);
    slip_pace_record(&pace, 1, true, 1000);
    assert_true(pace.draft_ms > 10 && pace.draft_ms < 12);
    assert_true(drafted(&pace, 1, 4, 5, 10, 10) >= 9);
}

static void test_expectation(void **state)
{
    (void)state;
    assert_true(slip_pace_expect(0, 3) == 3 && slip_pace_expect(3, 1) == 2 && slip_pace_expect(2, 8) == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_are_measured_first),
        cmocka_unit_test(test_what_pays),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_one_slow_step),
        cmocka_unit_test(test_expectation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
