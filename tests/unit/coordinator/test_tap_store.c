/* Positions wait for the draft: what comes out is what a draft would need, in order, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/tap_store.h"

enum { ROWS = 8, SEQUENCES = 2, BASE = 128 };

/* The draft is replaced: it notes what it is given. */
static int64_t given[64];
static int32_t given_count;

slip_status __wrap_slip_draft_inject(slip_draft *draft, int32_t sequence, int64_t base, int64_t position);
slip_status __wrap_slip_draft_inject(slip_draft *draft, int32_t sequence, int64_t base, int64_t position)
{
    assert_null(draft);
    assert_int_equal(base, BASE);
    given[given_count++] = position * 10 + sequence;
    return SLIP_OK;
}

static void keep(slip_tap_store *store, int32_t sequence, int64_t first, int64_t end)
{
    for (int64_t p = first; p < end; p++)
        slip_tap_store_keep(store, sequence, p);
}

/* Inject a sequence and expect positions [first, end). */
static void expect(slip_tap_store *store, int32_t sequence, int64_t first, int64_t end)
{
    given_count = 0;
    assert_int_equal(slip_tap_store_inject(store, sequence, BASE, NULL), SLIP_OK);
    assert_int_equal(given_count, end - first);
    for (int32_t i = 0; i < given_count; i++)
        assert_int_equal(given[i], (first + i) * 10 + sequence);
}

static void test_once_and_in_order(void **state)
{
    (void)state;
    slip_tap_store *store;
    assert_int_equal(slip_tap_store_create(SEQUENCES, ROWS, &store), SLIP_OK);
    keep(store, 0, 0, 5);
    keep(store, 1, 0, 3);
    expect(store, 0, 0, 5);
    expect(store, 0, 5, 5); /* nothing twice */
    keep(store, 0, 5, 7);
    expect(store, 0, 5, 7);
    expect(store, 1, 0, 3);
    slip_tap_store_free(store);
}

static void test_only_the_window_is_kept(void **state)
{
    (void)state;
    slip_tap_store *store;
    assert_int_equal(slip_tap_store_create(SEQUENCES, ROWS, &store), SLIP_OK);
    keep(store, 1, 0, 21);
    expect(store, 1, 13, 21);
    slip_tap_store_free(store);
}

static void test_a_new_request_starts_anew(void **state)
{
    (void)state;
    slip_tap_store *store;
    assert_int_equal(slip_tap_store_create(SEQUENCES, ROWS, &store), SLIP_OK);
    keep(store, 0, 0, 6);
    keep(store, 0, 0, 2);
    expect(store, 0, 0, 2);
    slip_tap_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_and_in_order),
        cmocka_unit_test(test_only_the_window_is_kept),
        cmocka_unit_test(test_a_new_request_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
