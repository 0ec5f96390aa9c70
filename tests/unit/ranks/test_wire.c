/* A step as a message: what goes in comes out, and anything torn is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ranks/wire.h"
#include "tiny_random.h"

enum { ORDER = sizeof(int32_t) }; /* before the step */

static slip_adjustment some[3 * SLIP_MAX_SPANS];

static void step_random(slip_step *step, uint64_t key, int32_t spans, int32_t rows)
{
    memset(step, 0, sizeof *step);
    *step = (slip_step){.number = key << 40 | 7,
                        .want = key % 2 ? SLIP_WANT_LOGITS : SLIP_WANT_TOKENS,
                        .span_count = spans,
                        .row_count = rows,
                        .logit_rows = spans,
                        .again = key % 3 == 1,
                        .adjust = key % 3 == 1 ? SLIP_ADJUST_APPLY : SLIP_ADJUST_NOTHING,
                        .adjustment_count = key % 3 == 1 ? 3 * spans : 0,
                        .adjustments = key % 3 == 1 ? some : NULL};
    for (int32_t i = 0; i < step->adjustment_count; i++)
        some[i] = (slip_adjustment){(int32_t)tiny_below(key + 2, (uint64_t)i, 152576), (uint32_t)i, 0.5f * (float)i};
    for (int32_t s = 0; s < spans; s++) {
        int32_t first = rows * s / spans, end = rows * (s + 1) / spans;
        step->span[s] = (slip_span){.sequence = s,
                                    .row = first,
                                    .count = end - first,
                                    .logit_rows = 1,
                                    .adjustments = step->adjustment_count / spans,
                                    .position = (int64_t)(key << 33) + s,
                                    .base = (int64_t)(key << 34) + s,
                                    .sampling = {tiny_hash(key + (uint64_t)s), 0.1 * s, s - 1, 1 - 0.01 * s, 0.02 * s}};
    }
    for (int32_t i = 0; i < rows; i++)
        step->token[i] = (int32_t)tiny_below(key, (uint64_t)i, 152576);
    for (int32_t i = 0; i < spans; i++)
        step->open[i] = (int32_t)tiny_below(key + 1, (uint64_t)i, 4000) - 2000;
}

static void assert_span(const slip_span *a, const slip_span *b)
{
    assert_true(a->sequence == b->sequence && a->row == b->row && a->count == b->count && a->logit_rows == b->logit_rows);
    assert_int_equal(a->adjustments, b->adjustments);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->base, b->base);
    assert_memory_equal(&a->sampling, &b->sampling, sizeof a->sampling);
}

static slip_order order; /* of the last unpack */
static slip_adjustment adjustments[SLIP_MAX_ADJUSTMENTS];

/* The message lies in a block of its own size, so that a sanitizer sees a read beyond it. */
static slip_status unpack_exactly(const unsigned char *bytes, size_t size, slip_step *step)
{
    unsigned char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy + 1, bytes, size);
    slip_status status = slip_wire_unpack(copy + 1, size, &order, step, adjustments);
    free(copy);
    return status;
}

static void test_round_trip(void **state)
{
    (void)state;
    static const int32_t sizes[][2] = {{0, 0}, {1, 1}, {3, 24}, {7, 333}, {SLIP_MAX_SPANS, SLIP_MAX_ROWS}};
    static slip_step in, out;
    unsigned char *bytes = malloc(slip_wire_room());
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        step_random(&in, i, sizes[i][0], sizes[i][1]);
        size_t size = slip_wire_pack((slip_order)(i % SLIP_ORDERS), &in, bytes);
        assert_true(size <= slip_wire_room());
        memset(&out, 0xff, sizeof out);
        assert_int_equal(unpack_exactly(bytes, size, &out), SLIP_OK);
        assert_int_equal(order, i % SLIP_ORDERS);
        assert_true(out.number == in.number && out.want == in.want && out.logit_rows == in.logit_rows);
        assert_true(out.span_count == in.span_count && out.row_count == in.row_count && out.again == in.again);
        if (in.again)
            assert_memory_equal(in.open, out.open, (size_t)in.logit_rows * sizeof *in.open);
        assert_true(out.adjust == in.adjust && out.adjustment_count == in.adjustment_count);
        if (in.adjustment_count > 0)
            assert_memory_equal(in.adjustments, out.adjustments, (size_t)in.adjustment_count * sizeof *in.adjustments);
        for (int32_t s = 0; s < in.span_count; s++)
            assert_span(&in.span[s], &out.span[s]);
        assert_memory_equal(in.token, out.token, (size_t)in.row_count * sizeof *in.token);
    }
    free(bytes);
}

static void test_small_steps_are_small(void **state)
{
    (void)state;
    static slip_step step;
    unsigned char *bytes = malloc(slip_wire_room());
    step_random(&step, 3, 1, 8);
    assert_true(slip_wire_pack(SLIP_ORDER_TARGET, &step, bytes) <= 256); /* a step is posted between two tokens */
    free(bytes);
}

static void test_torn(void **state)
{
    (void)state;
    static slip_step in, out;
    unsigned char *bytes = calloc(slip_wire_room() + 1, 1);
    step_random(&in, 3, 3, 24);
    size_t size = slip_wire_pack(SLIP_ORDER_TARGET, &in, bytes);
    for (size_t cut = 0; cut <= size + 1; cut++) {
        slip_clear();
        assert_int_equal(unpack_exactly(bytes, cut, &out), cut == size ? SLIP_OK : SLIP_ERR_FAILED);
        assert_true((slip_cause()[0] == '\0') == (cut == size));
    }
    slip_clear();
    free(bytes);
}

static void test_counts_out_of_range(void **state)
{
    (void)state;
    static const int32_t bad[] = {-1, INT32_MIN, INT32_MAX, SLIP_MAX_ROWS + 1, 1 << 28};
    static slip_step in, out;
    unsigned char *bytes = calloc(slip_wire_room() + 1, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int field = 0; field < 3; field++) {
            static const size_t fields[] = {offsetof(slip_step, span_count), offsetof(slip_step, row_count),
                                            offsetof(slip_step, adjustment_count)};
            step_random(&in, 3, 3, 24);
            size_t size = slip_wire_pack(SLIP_ORDER_TARGET, &in, bytes);
            memcpy(bytes + ORDER + fields[field], &bad[i], sizeof bad[i]);
            assert_int_equal(unpack_exactly(bytes, size, &out), SLIP_ERR_FAILED);
        }
    slip_clear();
    free(bytes);
}

/* Whole, but not what an executor has room for, or what its spans do not have. */
static void test_wrong_adjustments(void **state)
{
    (void)state;
    static slip_step in, out;
    unsigned char *bytes = calloc(slip_wire_room(), 1);
    for (int wrong = 0; wrong < 6; wrong++) {
        step_random(&in, 4, 3, 24);
        if (wrong == 0)
            in.span[1].adjustments--;
        if (wrong == 1)
            in.span[1].adjustments = SLIP_ADJUSTED_LATER;
        if (wrong == 2)
            in.span[2].adjustments = INT32_MAX;
        if (wrong == 3)
            in.span[0].logit_rows = SLIP_MAX_ADJUSTED;
        if (wrong == 4)
            in.adjust = SLIP_ADJUSTS;
        size_t size = slip_wire_pack(SLIP_ORDER_TARGET, &in, bytes);
        assert_int_equal(unpack_exactly(bytes, size, &out), wrong == 5 ? SLIP_OK : SLIP_ERR_FAILED);
    }
    slip_clear();
    free(bytes);
}

static void test_unknown_order(void **state)
{
    (void)state;
    static const int32_t bad[] = {-1, SLIP_ORDERS, INT32_MAX};
    static slip_step in, out;
    unsigned char *bytes = calloc(slip_wire_room(), 1);
    step_random(&in, 3, 3, 24);
    size_t size = slip_wire_pack(SLIP_ORDER_DRAFT, &in, bytes);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(bytes, &bad[i], sizeof bad[i]);
        assert_int_equal(unpack_exactly(bytes, size, &out), SLIP_ERR_FAILED);
    }
    slip_clear();
    free(bytes);
}

/* As long as their counts say, but more than a step holds. */
static void test_too_many(void **state)
{
    (void)state;
    static slip_step step, out;
    for (int field = 0; field < 2; field++) {
        int32_t spans = field ? 3 : SLIP_MAX_SPANS + 1, rows = field ? SLIP_MAX_ROWS + 1 : 24;
        size_t head = offsetof(slip_step, span);
        size_t size = ORDER + head + (size_t)spans * sizeof(slip_span) + (size_t)rows * sizeof(int32_t);
        unsigned char *bytes = calloc(size, 1);
        step.span_count = spans;
        step.row_count = rows;
        memcpy(bytes + ORDER, &step, head);
        assert_int_equal(unpack_exactly(bytes, size, &out), SLIP_ERR_FAILED);
        free(bytes);
    }
    slip_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_small_steps_are_small),
        cmocka_unit_test(test_torn),
        cmocka_unit_test(test_counts_out_of_range),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_unknown_order),
        cmocka_unit_test(test_wrong_adjustments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
