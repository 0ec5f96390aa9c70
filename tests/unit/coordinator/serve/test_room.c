/* What a rank's memory carries: never more than there is, all that there is, and more of it with more memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/serve/room.h"
#include "ranks/model/family.h"

enum { LAYERS = 8, RANKS = 2, CHUNK = 64, CONTEXT = 131072, BLOCK = 8 };

static slip_model model;
static slip_source source;

/* `gigabytes` beside the weights. */
static slip_room room_of(double gigabytes)
{
    slip_memory target, draft;
    const slip_decoder_options decoding = {.sequences = 1, .chunk = CHUNK};
    slip_limits limits = slip_decoder_limits(&model, &decoding, CONTEXT);
    slip_plan_memory(&source, &slip_executor_cuda, RANKS, RANKS, &limits, &target);
    slip_plan_draft_memory(&source, &slip_executor_cuda, RANKS, &limits, &draft);
    return (slip_room){.source = &source,
                       .kind = &slip_executor_cuda,
                       .ranks = RANKS,
                       .slices = RANKS,
                       .draft_ranks = RANKS,
                       .memory = (double)(target.weights + draft.weights) + gigabytes * 1e9};
}

static slip_decoder_options slots(int32_t sequences)
{
    return (slip_decoder_options){.sequences = sequences, .chunk = CHUNK};
}

static double bytes_of(const slip_room *room, int32_t sequences, int64_t kv_tokens)
{
    slip_decoder_options decoding = slots(sequences);
    decoding.kv_tokens = kv_tokens;
    slip_limits limits = slip_decoder_limits(&model, &decoding, CONTEXT);
    return slip_room_bytes(room, &limits);
}

/* So many tokens fit, and a page more does not. */
static void test_tokens(void **state)
{
    (void)state;
    for (double gigabytes = 0.25; gigabytes < 100; gigabytes *= 4)
        for (int32_t sequences = 1; sequences <= 64; sequences *= 8) {
            const slip_room room = room_of(gigabytes);
            const slip_decoder_options decoding = slots(sequences);
            int64_t tokens = slip_room_tokens(&room, &decoding, CONTEXT), most = sequences * slip_kv_extent(CONTEXT + BLOCK);
            assert_true(tokens >= 0 && tokens <= most && tokens % SLIP_KV_PAGE == 0);
            assert_true(tokens == 0 || bytes_of(&room, sequences, tokens) <= room.memory);
            assert_true(tokens == most || bytes_of(&room, sequences, tokens + SLIP_KV_PAGE) > room.memory - 1);
        }
}

static void test_bounds(void **state)
{
    (void)state;
    const slip_room none = room_of(-1), all = room_of(1e6);
    const slip_decoder_options decoding = slots(4);
    assert_int_equal(slip_room_tokens(&none, &decoding, CONTEXT), 0);
    assert_int_equal(slip_room_tokens(&all, &decoding, CONTEXT), 4 * slip_kv_extent(CONTEXT + BLOCK));
    assert_int_equal(slip_room_sequences(&none, &decoding, CONTEXT), 1);
    assert_int_equal(slip_room_sequences(&all, &decoding, CONTEXT), SLIP_MAX_SPANS);
}

/* Steps are as wide as memory bears, and a sequence's part of them as its rings do. */
static void test_chunk(void **state)
{
    (void)state;
    const slip_room none = room_of(-1), all = room_of(1e6);
    slip_decoder_options decoding = {.sequences = 1, .chunk = SLIP_MAX_ROWS};
    assert_int_equal(slip_room_chunk(&none, &decoding, CONTEXT), SLIP_CHUNK_LEAST);
    assert_int_equal(slip_room_chunk(&all, &decoding, CONTEXT), SLIP_MAX_ROWS);
    int32_t before = SLIP_CHUNK_LEAST;
    for (double gigabytes = 0.25; gigabytes < 200; gigabytes *= 2) {
        const slip_room room = room_of(gigabytes);
        int32_t chunk = slip_room_chunk(&room, &decoding, CONTEXT);
        assert_true(chunk == before || chunk == 2 * before || chunk == 4 * before);
        before = chunk;
    }
    assert_int_equal(before, SLIP_MAX_ROWS);
    static const int32_t spans[][2] = {{1, SLIP_MAX_ROWS}, {2, SLIP_MAX_ROWS / 2}, {4, 512}, {64, 512}};
    for (int i = 0; i < 4; i++) {
        decoding.sequences = spans[i][0];
        const slip_limits limits = slip_decoder_limits(&model, &decoding, CONTEXT);
        assert_true(limits.rows == SLIP_MAX_ROWS && limits.span_rows == spans[i][1] && limits.logit_rows == spans[i][0] * BLOCK);
    }
    decoding.chunk = CHUNK;
    assert_int_equal(slip_room_chunk(&all, &decoding, CONTEXT), CHUNK);
    assert_int_equal(slip_decoder_limits(&model, &decoding, CONTEXT).span_rows, CHUNK);
}

/* Slots leave half of the memory for K/V, and room for the longest request where one slot does. */
static void test_sequences(void **state)
{
    (void)state;
    int32_t before = 1;
    for (double gigabytes = 0.25; gigabytes < 100; gigabytes *= 2) {
        const slip_room room = room_of(gigabytes);
        slip_decoder_options decoding = slots(1);
        bool one_fits = slip_room_tokens(&room, &decoding, CONTEXT) == slip_kv_extent(CONTEXT + BLOCK);
        decoding.sequences = slip_room_sequences(&room, &decoding, CONTEXT);
        assert_true(decoding.sequences >= before && decoding.sequences <= SLIP_MAX_SPANS);
        assert_true(!one_fits || slip_room_tokens(&room, &decoding, CONTEXT) >= slip_kv_extent(CONTEXT + BLOCK));
        before = decoding.sequences;
    }
    assert_int_equal(before, SLIP_MAX_SPANS);
}

/* With K/V of a size that was asked for, slots take all the rest. */
static void test_sequences_beside_tokens(void **state)
{
    (void)state;
    const slip_room room = room_of(3);
    const int64_t tokens = 64 * SLIP_KV_PAGE;
    slip_decoder_options decoding = slots(1);
    decoding.kv_tokens = tokens;
    int32_t sequences = slip_room_sequences(&room, &decoding, CONTEXT);
    assert_in_range(sequences, 2, SLIP_MAX_SPANS - 1);
    assert_true(bytes_of(&room, sequences, tokens) <= room.memory);
    assert_true(bytes_of(&room, sequences + 1, tokens) > room.memory);
}

static int open_shape(void **state)
{
    (void)state;
    slip_shape_make("pro", &model);
    slip_source_shape(&model, &source);
    return 0;
}

static int close_shape(void **state)
{
    (void)state;
    slip_source_close(&source);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tokens), cmocka_unit_test(test_bounds), cmocka_unit_test(test_chunk),
                                       cmocka_unit_test(test_sequences), cmocka_unit_test(test_sequences_beside_tokens)};
    return cmocka_run_group_tests(tests, open_shape, close_shape);
}
