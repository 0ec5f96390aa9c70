/* A pool does all jobs, those that jobs submit among them, with any number of threads; whoever waits sees what they wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/base/pool/pool.h"

enum { JOBS = 64, CHILDREN = 5 };

typedef struct {
    slip_pool_job job;
    slip_pool *pool;
    int value; /* written by its job, read by whoever has waited */
    slip_pool_job children[CHILDREN];
    int child_values[CHILDREN];
} task;

static slip_pool_open_jobs open;

static void run_child(void *context)
{
    int *value = context;
    *value += 100;
}

static void run_task(void *context)
{
    task *t = context;
    t->value++;
    for (int i = 0; i < CHILDREN; i++) {
        t->children[i] = (slip_pool_job){run_child, &t->child_values[i], &open, NULL};
        slip_pool_submit(t->pool, &t->children[i]);
    }
}

static void check_round(slip_pool *pool, task *tasks, int round)
{
    for (int i = 0; i < JOBS; i++) {
        tasks[i].pool = pool;
        tasks[i].job = (slip_pool_job){run_task, &tasks[i], &open, NULL};
        slip_pool_submit(pool, &tasks[i].job);
    }
    slip_pool_wait(pool, &open, "testing", "a pool");
    assert_int_equal(open.count, 0);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(tasks[i].value, round);
        for (int c = 0; c < CHILDREN; c++)
            assert_int_equal(tasks[i].child_values[c], 100 * round);
    }
}

static void test_rounds(void **state)
{
    (void)state;
    static const int threads[] = {0, 1, 3};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        slip_pool *pool;
        static task tasks[JOBS];
        for (int t = 0; t < JOBS; t++)
            tasks[t] = (task){0};
        assert_int_equal(slip_pool_create(threads[i], &pool), SLIP_OK);
        assert_int_equal(slip_pool_threads(pool), threads[i]);
        for (int round = 1; round <= 20; round++)
            check_round(pool, tasks, round);
        slip_pool_free(pool);
    }
}

typedef struct {
    slip_pool *pool;
    slip_pool_open_jobs *held;
} held_job;

static void run_release(void *context)
{
    held_job *h = context;
    slip_pool_release(h->pool, h->held);
}

/* What is held is open, until a job releases it. */
static void test_hold(void **state)
{
    (void)state;
    for (int threads = 0; threads < 2; threads++) {
        slip_pool *pool;
        slip_pool_open_jobs held = {0};
        assert_int_equal(slip_pool_create(threads, &pool), SLIP_OK);
        slip_pool_wait(pool, &held, "testing", "a pool");
        slip_pool_hold(pool, &held);
        held_job h = {pool, &held};
        slip_pool_job job = {run_release, &h, &open, NULL};
        slip_pool_submit(pool, &job);
        slip_pool_wait(pool, &held, "testing", "a pool");
        slip_pool_wait(pool, &open, "testing", "a pool");
        slip_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounds), cmocka_unit_test(test_hold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
