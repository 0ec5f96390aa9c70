/* What logprobs need of a row: by the definition, and to the same bit however the row is cut and in whatever order its parts meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "ranks/model/sampling/likeliest.h"
#include "tiny_random.h"

enum { MOST = 3000 };

/* Rows of many kinds: flat, peaked, far from 0, with many equal logits. */
static int32_t fill(uint64_t seed, float *logits)
{
    static const float scales[] = {0.1f, 4, 30, 200}, offsets[] = {0, 20, -50, 1000};
    const int32_t count = 1 + (int32_t)tiny_below(seed, 0, MOST);
    tiny_fill(seed, scales[seed % 4], (size_t)count, logits);
    for (int32_t i = 0; i < count; i++) {
        logits[i] += offsets[seed / 4 % 4];
        if (seed % 5 == 0)
            logits[i] = rintf(logits[i]);
    }
    return count;
}

static void test_definition(void **state)
{
    (void)state;
    static float logits[MOST];
    for (uint64_t seed = 0; seed < 80; seed++) {
        const int32_t count = fill(seed, logits), asked = (int32_t)tiny_below(seed, 1, (uint32_t)count);
        slip_likeliest row;
        slip_likeliest_find(logits, 0, count, asked, &row);
        assert_true(row.found && row.asked == logits[asked]);
        assert_int_equal(row.count, count < SLIP_MAX_TOP_LOGPROBS ? count : SLIP_MAX_TOP_LOGPROBS);
        long double sum = 0;
        float highest = logits[0];
        for (int32_t i = 0; i < count; i++)
            highest = fmaxf(highest, logits[i]);
        for (int32_t i = 0; i < count; i++) {
            int32_t likelier = 0;
            for (int32_t k = 0; k < count; k++)
                likelier += logits[k] > logits[i] || (logits[k] == logits[i] && k < i);
            sum += expl((long double)logits[i] - highest);
            if (likelier < row.count)
                assert_true(row.best[likelier].token == i && row.best[likelier].score == logits[i]);
        }
        const double norm = slip_likeliest_norm(&row);
        assert_true(norm >= highest && fabsl(norm - (highest + logl(sum))) <= 4e-16L * (fabsl(norm) + 1));
    }
}

/* Parts from first to last, from last to first, and as a tree. */
static void test_cuts(void **state)
{
    (void)state;
    enum { PARTS = 7 };
    static float logits[MOST];
    for (uint64_t seed = 0; seed < 80; seed++) {
        const int32_t count = fill(seed, logits), asked = (int32_t)tiny_below(seed, 1, MOST);
        slip_likeliest whole, part[PARTS], up, down;
        slip_likeliest_find(logits, 0, count, asked, &whole);
        for (int32_t p = 0; p < PARTS; p++) { /* the last ones may be empty */
            const int32_t size = 1 + (count - 1) / (PARTS - 1), first = p * size < count ? p * size : count;
            slip_likeliest_find(logits + first, first, first + size < count ? size : count - first, asked, &part[p]);
        }
        up = part[0];
        down = part[PARTS - 1];
        for (int32_t p = 1; p < PARTS; p++) {
            slip_likeliest_add(&up, &part[p]);
            slip_likeliest_add(&down, &part[PARTS - 1 - p]);
        }
        assert_true(up.count == whole.count && down.count == whole.count && up.found == whole.found && down.found == whole.found);
        assert_memory_equal(up.best, whole.best, (size_t)whole.count * sizeof *whole.best);
        assert_memory_equal(down.best, whole.best, (size_t)whole.count * sizeof *whole.best);
        assert_true(up.asked == whole.asked && down.asked == whole.asked);
        assert_memory_equal(&up.sum, &whole.sum, sizeof whole.sum);
        assert_memory_equal(&down.sum, &whole.sum, sizeof whole.sum);
    }
}

/* One token is certain; of equals all have their share; what no model gives ends nowhere strange. */
static void test_ends(void **state)
{
    (void)state;
    slip_likeliest row;
    const float one = 17.25f, apart[] = {-3e38f, 3e38f, 0}, same[] = {-3e5f, -3e5f, -3e5f, -3e5f};
    slip_likeliest_find(&one, 5, 1, 4, &row);
    assert_true(!row.found && slip_likeliest_norm(&row) == one && row.best[0].token == 5);
    slip_likeliest_find(apart, 0, 3, 1, &row);
    assert_true(slip_likeliest_norm(&row) == 3e38f && row.best[2].token == 0);
    slip_likeliest_find(same, 0, 4, 1, &row);
    assert_true(fabs(slip_likeliest_norm(&row) - (-3e5 + log(4))) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_definition), cmocka_unit_test(test_cuts), cmocka_unit_test(test_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
