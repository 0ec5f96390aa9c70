/* Filters with a device that gives histograms and samples again: the tokens are those of whole rows, by whichever way each was found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "coordinator/decoder.h"
#include "tiny_checkpoint.h"
#include "decoder_machine.h"
#include "filter_device.h"

enum { REQUESTS = 16, TOKENS = 24 };

typedef struct {
    int32_t tokens[TOKENS], count;
} text;

/* All filters, alone and together, some that keep one token and some that keep nearly all, and where it is hot
 * many tokens a bin; a few requests without any. `whole`: every row's
 * logits are needed anyway. */
static slip_query request(const slip_model *model, int i, bool whole)
{
    static const double top_p[] = {0.95, 1, 0.5, 1e-12, 0.999, 1, 0.8}, min_p[] = {0, 0, 0.05, 1, 0.3}, temperatures[] = {1, 0.7, 20, 0.05};
    static const int64_t top_k[] = {0, 5, 0, 60, 1, -1};
    static int32_t tokens[REQUESTS][6];
    for (int t = 0; t < 6; t++)
        tokens[i][t] = (int32_t)tiny_below(77, (uint64_t)(6 * i + t), (uint32_t)model->vocabulary);
    return (slip_query){.prompt = tokens[i],
                        .prompt_count = 1 + i % 6,
                        .max_tokens = TOKENS,
                        .ignore_eos = true,
                        .wishes.logprobs = whole,
                        .sampling = {.seed = 500 + (uint64_t)i,
                                     .temperature = i == 15   ? 1e-6
                                                    : i == 14 ? 0
                                                              : temperatures[i % 4],
                                     .top_k = top_k[i % 6],
                                     .top_p = top_p[i % 7],
                                     .min_p = min_p[i % 5]}};
}

static void decode(const tiny_checkpoint *checkpoint, const setting *how, bool whole, text *texts)
{
    machine m;
    int32_t owner[REQUESTS], next = 0, slot;
    machine_make(checkpoint, &checkpoint->source.model, how, &m);
    while (next < REQUESTS || slip_decoder_busy(m.decoder)) {
        for (; next < REQUESTS; next++) {
            slip_query query = request(&checkpoint->source.model, next, whole);
            if ((slot = slip_decoder_vacancy(m.decoder, &query)) < 0)
                break;
            owner[slot] = next;
            assert_int_equal(slip_decoder_admit(m.decoder, slot, &query), SLIP_OK);
        }
        assert_int_equal(slip_decoder_step(m.decoder), SLIP_OK);
        for (slot = 0; slot < how->sequences; slot++) {
            const slip_sequence *s = slip_decoder_sequence(m.decoder, slot);
            if (s->phase != SLIP_FINISHED)
                continue;
            texts[owner[slot]].count = s->count;
            memcpy(texts[owner[slot]].tokens, s->tokens, (size_t)s->count * sizeof *s->tokens);
            slip_decoder_release(m.decoder, slot);
        }
    }
    machine_free(&m);
}

static void assert_texts(const text *a, const text *b)
{
    for (int i = 0; i < REQUESTS; i++) {
        assert_int_equal(a[i].count, TOKENS);
        assert_int_equal(b[i].count, TOKENS);
        assert_memory_equal(a[i].tokens, b[i].tokens, sizeof a[i].tokens);
    }
}

static void test_same_texts(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_executor_kind filtering = filter_device_kind();
    const setting settings[] = {
        {.kind = &filtering, .sequences = 1, .chunk = 64},
        {.kind = &filtering, .sequences = 1, .chunk = 64, .draft = true},
        {.kind = &filtering, .sequences = 7, .chunk = 2, .draft = true},
        {.kind = &filtering, .sequences = 4, .chunk = 64, .draft = true, .paced = true},
    };
    static text plain[REQUESTS], other[REQUESTS];
    decode(checkpoint, &(setting){.sequences = 1, .chunk = 64}, false, plain);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        decode(checkpoint, &settings[i], false, other);
        assert_texts(plain, other);
    }
    assert_true(filter_device.histogram_rows > 0 && filter_device.drawn_again > 0 && filter_device.fetched > 0);
    assert_true(filter_device.fetched < filter_device.drawn_again && filter_device.drawn_again < filter_device.histogram_rows / 2);
}

/* Requests that want more of their rows than a token: the same text, and no histogram is made for them. */
static void test_whole_rows(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_executor_kind filtering = filter_device_kind();
    static text plain[REQUESTS], other[REQUESTS];
    decode(checkpoint, &(setting){.sequences = 2, .chunk = 64}, true, plain);
    filter_device.histogram_rows = filter_device.drawn_again = 0;
    decode(checkpoint, &(setting){.kind = &filtering, .sequences = 5, .chunk = 64, .draft = true}, true, other);
    assert_texts(plain, other);
    assert_true(filter_device.histogram_rows == 0 && filter_device.drawn_again == 0);
    decode(checkpoint, &(setting){.kind = &filtering, .sequences = 5, .chunk = 64, .draft = true}, false, other);
    assert_texts(plain, other);
}

static int open_fixture(void **state)
{
    ahead_make();
    return tiny_checkpoint_open(state, "pro-split-bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_texts), cmocka_unit_test(test_whole_rows)};
    return cmocka_run_group_tests(tests, open_fixture, tiny_checkpoint_close);
}
