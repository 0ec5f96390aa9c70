/* Extents of K/V: first fit, gaps that join, and what many turns of taking and giving must never break. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/kv/extents.h"
#include "tiny_random.h"

static void test_first_fit(void **state)
{
    (void)state;
    slip_extents e = {.total = 100};
    assert_int_equal(slip_extents_take(&e, 30), 0);
    assert_int_equal(slip_extents_take(&e, 20), 30);
    assert_int_equal(slip_extents_take(&e, 50), 50);
    assert_false(slip_extents_fit(&e, 1)); /* full to the last position */
    slip_extents_give(&e, 30);
    assert_true(slip_extents_fit(&e, 20));
    assert_false(slip_extents_fit(&e, 21));
    assert_int_equal(slip_extents_take(&e, 5), 30); /* the beginning of the gap */
    assert_int_equal(slip_extents_take(&e, 15), 35);
    assert_int_equal(e.count, 4);
}

/* 60 positions are free in two gaps of 30: together they are none of 31, until what lies between goes. */
static void test_fragmentation(void **state)
{
    (void)state;
    slip_extents e = {.total = 90};
    for (int64_t base = 0; base < 90; base += 30)
        assert_int_equal(slip_extents_take(&e, 30), base);
    slip_extents_give(&e, 60);
    slip_extents_give(&e, 0);
    assert_true(slip_extents_fit(&e, 30));
    assert_false(slip_extents_fit(&e, 31));
    slip_extents_give(&e, 30);
    assert_int_equal(slip_extents_take(&e, 90), 0);
    assert_false(slip_extents_fit(&(slip_extents){.total = 90}, 91));
}

enum { TOTAL = 4096, TURNS = 20000 };

/* A map of the arena beside it: no two extents share a position, a gap is found where one is, and it is the first. */
typedef struct {
    slip_extents extents;
    unsigned char used[TOTAL];
    slip_range live[SLIP_MAX_SPANS];
    int32_t count;
} model;

static int64_t first_gap(const model *m, int64_t positions)
{
    int64_t run = 0;
    for (int64_t at = 0; at < TOTAL; at++) {
        run = m->used[at] ? 0 : run + 1;
        if (run == positions)
            return at - run + 1;
    }
    return -1;
}

static void mark(model *m, slip_range range, unsigned char value)
{
    for (int64_t at = range.first; at < range.first + range.count; at++) {
        assert_true(m->used[at] != value);
        m->used[at] = value;
    }
}

static void give(model *m, int32_t which)
{
    slip_extents_give(&m->extents, m->live[which].first);
    mark(m, m->live[which], 0);
    m->live[which] = m->live[--m->count];
}

static void take(model *m, int64_t positions)
{
    int64_t gap = first_gap(m, positions);
    assert_true(slip_extents_fit(&m->extents, positions) == (gap >= 0));
    if (gap < 0)
        return;
    slip_range range = {slip_extents_take(&m->extents, positions), positions};
    assert_int_equal(range.first, gap);
    mark(m, range, 1);
    m->live[m->count++] = range;
}

static void test_against_a_map(void **state)
{
    (void)state;
    static model m = {.extents = {.total = TOTAL}};
    for (uint64_t turn = 0; turn < TURNS; turn++) {
        if (m.count > 0 && (m.count == SLIP_MAX_SPANS || tiny_below(turn, 0, 2)))
            give(&m, (int32_t)tiny_below(turn, 1, (uint32_t)m.count));
        else
            take(&m, 1 + (int64_t)tiny_below(turn, 2, turn % 7 ? 200 : TOTAL));
        assert_int_equal(m.extents.count, m.count);
    }
    while (m.count > 0)
        give(&m, 0);
    assert_int_equal(slip_extents_take(&m.extents, TOTAL), 0); /* one gap again */
}

static void test_pages(void **state)
{
    (void)state;
    assert_int_equal(slip_kv_extent(1), SLIP_KV_PAGE);
    assert_int_equal(slip_kv_extent(SLIP_KV_PAGE), SLIP_KV_PAGE);
    assert_int_equal(slip_kv_extent(SLIP_KV_PAGE + 1), 2 * SLIP_KV_PAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first_fit), cmocka_unit_test(test_fragmentation),
                                       cmocka_unit_test(test_against_a_map), cmocka_unit_test(test_pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
