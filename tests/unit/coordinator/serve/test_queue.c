/* The queue: first in, first out, also where its ring wraps while it grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/serve/queue.h"

enum { MOST = 200 };

static void push(slip_queue *queue, uint64_t ticket)
{
    const slip_queued item = {.ticket = ticket};
    assert_int_equal(slip_queue_push(queue, &item), SLIP_OK);
}

/* `before` have come and gone when MOST more come: the ring begins anywhere when it grows. */
static void test_order(void **state)
{
    (void)state;
    for (uint64_t before = 0; before < 40; before++) {
        slip_queue queue = {0};
        uint64_t pushed = 0, popped = 0;
        for (; pushed < before; pushed++)
            push(&queue, pushed);
        for (; popped < before; popped++)
            assert_int_equal(slip_queue_pop(&queue).ticket, popped);
        for (; pushed < before + MOST; pushed++)
            push(&queue, pushed);
        assert_int_equal(queue.count, MOST);
        for (; popped < pushed; popped++)
            assert_int_equal(slip_queue_pop(&queue).ticket, popped);
        slip_queue_free(&queue);
    }
}

/* The others keep their order. */
static void test_remove(void **state)
{
    (void)state;
    slip_queue queue = {0};
    slip_queued item;
    for (uint64_t i = 0; i < 16; i++)
        push(&queue, i);
    for (uint64_t i = 0; i < 10; i++)
        slip_queue_pop(&queue);
    for (uint64_t i = 16; i < 24; i++) /* wraps */
        push(&queue, i);
    assert_true(slip_queue_remove(&queue, 14, &item) && item.ticket == 14);
    assert_true(slip_queue_remove(&queue, 23, &item) && item.ticket == 23);
    assert_false(slip_queue_remove(&queue, 14, &item));
    for (uint64_t i = 10; i < 23; i++)
        if (i != 14)
            assert_int_equal(slip_queue_pop(&queue).ticket, i);
    assert_int_equal(queue.count, 0);
    slip_queue_free(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_remove)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
