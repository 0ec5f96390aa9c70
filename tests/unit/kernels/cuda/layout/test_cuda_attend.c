/* Partial results of attention have room in every step that its limits allow: those that the device would write, counted by its own rules, for
 * random heads, limits and steps. No GPU is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernels/cuda/layout/attend_size.h"
#include "kernels/cuda/layout/cache.h"

enum { SHAPES = 400, STEPS = 40 };

static uint64_t state_of_draw = 1;

/* One of 0 .. most. */
static int32_t draw(int32_t most)
{
    state_of_draw = state_of_draw * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((state_of_draw >> 33) % (uint64_t)(most + 1));
}

static int32_t one_of(const int32_t *values, int32_t count)
{
    return values[draw(count - 1)];
}
#define ONE_OF(...) one_of((const int32_t[]){__VA_ARGS__}, (int32_t)(sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)))

/* Keys that a run of `count` rows from `position` on sees are in so many splits: attend_load_run(). */
static int32_t splits_of(const slip_cuda_cache *cache, int32_t position, int32_t count)
{
    int32_t window = cache->shape.window, first = window > 0 && position >= window ? position - window + 1 : 0;
    return slip_attend_split_of(cache, position + count - 1) - slip_attend_split_of(cache, first) + 1;
}

/* Partial results that a random step leaves. */
static int64_t step_of(const slip_cuda_cache *cache, const slip_limits *limits)
{
    int64_t partial = 0;
    int32_t runs = 0, row = 0, rows = 1 + draw(limits->rows - 1);
    for (int32_t left = 1 + draw(limits->sequences - 1); left > 0 && row < rows; left--) {
        int32_t most = rows - row < limits->span_rows ? rows - row : limits->span_rows, span = left == 1 ? most : 1 + draw(most - 1);
        int32_t position = draw(draw(1) ? (int32_t)limits->context - span : 0);
        for (int32_t count; span > 0; span -= count, row += count, position += count, runs++) { /* cut where row groups end */
            count = SLIP_TOKENS - row % SLIP_TOKENS < span ? SLIP_TOKENS - row % SLIP_TOKENS : span;
            partial += (int64_t)slip_attend_tiles(&cache->shape, count) * cache->shape.kv_heads * splits_of(cache, position, count);
        }
    }
    bool wide = row > SLIP_TOKENS && slip_attend_is_wide(cache);
    return wide && slip_attend_merges(&cache->shape, runs) ? 0 : partial;
}

static void test_partial_results_have_room(void **state)
{
    (void)state;
    int64_t closest = 1000;
    int32_t merged = 0;
    for (int32_t i = 0; i < SHAPES; i++) {
        slip_cache shape = {0};
        shape.kv_heads = ONE_OF(1, 1, 2, 4, 8);
        shape.group = ONE_OF(1, 2, 5, 8, 16, 32);
        shape.q_heads = shape.group * shape.kv_heads;
        shape.head_dim = ONE_OF(64, 128, 192, 256);
        shape.v_head_dim = ONE_OF(64, 128, 256);
        shape.window = ONE_OF(0, 0, 0, 100, 128, 513);
        slip_limits limits = {0};
        limits.rows = ONE_OF(8, 64, 513, 2048);
        limits.sequences = ONE_OF(1, 3, 64);
        limits.span_rows = ONE_OF(8, limits.rows, limits.rows);
        limits.context = ONE_OF(2048, 5000, 131072);
        limits.kv_tokens = limits.context * limits.sequences;
        slip_cuda_cache cache = slip_cuda_cache_of(&shape, &limits);
        int64_t room = slip_attend_items(&limits, &cache);
        for (int32_t j = 0; j < STEPS; j++) {
            int64_t partial = step_of(&cache, &limits);
            assert_true(partial <= room);
            merged += partial == 0;
            closest = partial > 0 && room * 100 / partial < closest ? room * 100 / partial : closest;
        }
    }
    print_message("%d of %d steps leave no partial results; the others have room for %lld %% and more\n", merged, SHAPES * STEPS,
                  (long long)closest);
    assert_true(merged > 0 && closest < 130); /* neither is the room far too large */
}

/* What the head of attend_size.h says of the Pro's shard. */
static void test_room_is_bounded(void **state)
{
    (void)state;
    slip_cache shape = {.kv_heads = 1, .group = 16, .q_heads = 16, .head_dim = 192, .v_head_dim = 128};
    slip_limits limits = {.rows = 1024, .sequences = 64, .span_rows = 1024, .context = 8192, .kv_tokens = 8192};
    slip_cuda_cache cache = slip_cuda_cache_of(&shape, &limits);
    size_t few = slip_attend_out_bytes(slip_attend_items(&limits, &cache), &cache);
    limits.rows = 2048;
    assert_int_equal(slip_attend_out_bytes(slip_attend_items(&limits, &cache), &cache), few);
    assert_true(few > 240e6 && few < 260e6);
    limits.context = 1 << 20;
    size_t long_context = slip_attend_out_bytes(slip_attend_items(&limits, &cache), &cache);
    assert_true(long_context > 590e6 && long_context < 620e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_partial_results_have_room), cmocka_unit_test(test_room_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
