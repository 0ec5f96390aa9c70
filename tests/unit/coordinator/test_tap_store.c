/* Taps wait for the draft: what comes out is what a draft would need, in order, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/tap_store.h"

enum { WIDTH = 3, ROWS = 8, SEQUENCES = 2 };

/* The draft is replaced: it notes what it is given. */
static int64_t given[64];
static float first_value[64];
static int32_t given_count;

slip_status __wrap_slip_draft_inject(slip_draft *draft, int32_t sequence, int64_t position, const float *taps);
slip_status __wrap_slip_draft_inject(slip_draft *draft, int32_t sequence, int64_t position, const float *taps)
{
    assert_null(draft);
    given[given_count] = position * 10 + sequence;
    first_value[given_count++] = taps ? taps[0] : -1;
    return SLIP_OK;
}

static void keep(slip_tap_store *store, int32_t sequence, int64_t first, int64_t end)
{
    for (int64_t p = first; p < end; p++) {
        float taps[WIDTH] = {(float)(100 * sequence + p)};
        slip_tap_store_keep(store, sequence, p, taps);
    }
}

/* Inject a sequence and expect positions [first, end). */
static void expect(slip_tap_store *store, int32_t sequence, int64_t first, int64_t end)
{
    given_count = 0;
    assert_int_equal(slip_tap_store_inject(store, sequence, NULL), SLIP_OK);
    assert_int_equal(given_count, end - first);
    for (int32_t i = 0; i < given_count; i++) {
        assert_int_equal(given[i], (first + i) * 10 + sequence);
        assert_true(first_value[i] == (float)(100 * sequence + first + i));
    }
}

static void test_once_and_in_order(void **state)
{
    (void)state;
    slip_tap_store *store;
    assert_int_equal(slip_tap_store_create(SEQUENCES, ROWS, WIDTH, &store), SLIP_OK);
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
    assert_int_equal(slip_tap_store_create(SEQUENCES, ROWS, WIDTH, &store), SLIP_OK);
    keep(store, 1, 0, 21);
    expect(store, 1, 13, 21);
    slip_tap_store_free(store);
}

static void test_a_new_request_starts_anew(void **state)
{
    (void)state;
    slip_tap_store *store;
    assert_int_equal(slip_tap_store_create(SEQUENCES, ROWS, WIDTH, &store), SLIP_OK);
    keep(store, 0, 0, 6);
    keep(store, 0, 0, 2);
    expect(store, 0, 0, 2);
    slip_tap_store_free(store);
}

/* Taps that stay with the device: only which positions wait is kept. */
static void test_resident(void **state)
{
    (void)state;
    slip_tap_store *store;
    assert_int_equal(slip_tap_store_create(SEQUENCES, ROWS, 0, &store), SLIP_OK);
    for (int64_t p = 0; p < 21; p++)
        slip_tap_store_keep(store, 1, p, NULL);
    given_count = 0;
    assert_int_equal(slip_tap_store_inject(store, 1, NULL), SLIP_OK);
    assert_int_equal(given_count, ROWS);
    for (int32_t i = 0; i < ROWS; i++)
        assert_true(given[i] == (13 + i) * 10 + 1 && first_value[i] == -1);
    slip_tap_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_and_in_order),
        cmocka_unit_test(test_only_the_window_is_kept),
        cmocka_unit_test(test_a_new_request_starts_anew),
        cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
