/* Routing that overlaps: the formula against draws, and biases that name a pool of the size asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "ranks/model/overlap.h"
#include "ranks/model/random.h"

enum { EXPERTS = 384, TOP_K = 8, BLOCK = 8, DRAWS = 2000 };

/* Distinct experts that a block's tokens pick of the first `pool`, the mean over draws. */
static double drawn(int32_t pool)
{
    uint64_t state = 1;
    int64_t distinct = 0;
    for (int draw = 0; draw < DRAWS; draw++) {
        char touched[EXPERTS] = {0};
        for (int token = 0; token < BLOCK; token++) {
            char picked[EXPERTS] = {0};
            for (int k = 0; k < TOP_K;) {
                uint64_t e = slip_random_next(&state) % (uint64_t)pool;
                k += !picked[e];
                picked[e] = touched[e] = 1;
            }
        }
        for (int e = 0; e < pool; e++)
            distinct += touched[e];
    }
    return (double)distinct / DRAWS;
}

/* A draw's deviation is below 4 experts, so that of the mean is below 0.1. */
static void test_distinct(void **state)
{
    (void)state;
    static const int32_t pools[] = {8, 9, 40, 56, 128, 384};
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++)
        assert_true(fabs(slip_overlap_distinct(pools[i], TOP_K, BLOCK) - drawn(pools[i])) < 0.4);
}

static void test_pool(void **state)
{
    (void)state;
    assert_int_equal(slip_overlap_pool(EXPERTS, TOP_K, BLOCK, TOP_K), TOP_K);
    assert_int_equal(slip_overlap_pool(EXPERTS, TOP_K, BLOCK, 1e9), EXPERTS);
    for (int32_t distinct = TOP_K; distinct < 59; distinct++) {
        int32_t pool = slip_overlap_pool(EXPERTS, TOP_K, BLOCK, distinct);
        double off = fabs(slip_overlap_distinct(pool, TOP_K, BLOCK) - distinct);
        assert_true(pool == TOP_K || off <= fabs(slip_overlap_distinct(pool - 1, TOP_K, BLOCK) - distinct));
        assert_true(off <= fabs(slip_overlap_distinct(pool + 1, TOP_K, BLOCK) - distinct));
    }
}

static void test_biases(void **state)
{
    (void)state;
    float biases[EXPERTS], others[EXPERTS], again[EXPERTS];
    for (int32_t pool = TOP_K; pool <= EXPERTS; pool += 47) {
        int32_t members = 0;
        slip_overlap_biases(biases, EXPERTS, pool, 7);
        for (int32_t e = 0; e < EXPERTS; e++) {
            assert_true(biases[e] == 0 || biases[e] < -1);
            members += biases[e] == 0;
        }
        assert_int_equal(members, pool);
    }
    slip_overlap_biases(biases, EXPERTS, 50, 7);
    slip_overlap_biases(again, EXPERTS, 50, 7);
    slip_overlap_biases(others, EXPERTS, 50, 8);
    assert_memory_equal(biases, again, sizeof biases); /* all ranks name the same */
    assert_memory_not_equal(biases, others, sizeof biases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distinct), cmocka_unit_test(test_pool), cmocka_unit_test(test_biases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
