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
    slip_logprob logprobs[TOKENS][1 + TOP];
} text;

/* Bias, penalties and logprobs on top, of most requests. */
static bool changed;

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

static void change(slip_query *query, int i)
{
    static const slip_bias biases[] = {{3, 4}, {40, -100}, {17, 0.5f}, {55, 100}};
    query->wishes.logprobs = i % 3 != 1;
    query->wishes.top_logprobs = i % 3 ? TOP : 0;
    query->wishes.biases = biases;
    query->wishes.bias_count = i % 4 == 1 ? 3 : i == 7 ? 4 : 0;
    query->sampling.presence_penalty = i % 5 == 0 ? 0.7 : 0;
    query->sampling.frequency_penalty = i % 5 == 1 ? -1.5 : 0.25 * (i % 3);
    query->sampling.repetition_penalty = i % 2 ? 1 : 1.4;
    if (i % 4 == 2) /* with no filter */
        query->sampling = (slip_sampling){.seed = query->sampling.seed, .temperature = i % 8 == 2, .top_p = 1, .frequency_penalty = 0.8};
    if (i == 11) /* none of all that */
        *query = (slip_query){.prompt = query->prompt, .prompt_count = 2, .max_tokens = TOKENS, .ignore_eos = true, .sampling.top_p = 1};
}

static void decode(const tiny_checkpoint *checkpoint, const setting *how, bool whole, text *texts)
{
    machine m;
    int32_t owner[REQUESTS], next = 0, slot;
    machine_make(checkpoint, &checkpoint->source.model, how, &m);
    while (next < REQUESTS || slip_decoder_busy(m.decoder)) {
        for (; next < REQUESTS; next++) {
            slip_query query = request(&checkpoint->source.model, next, whole);
            if (changed)
                change(&query, next);
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
            for (int t = 0; s->logprobs && t < s->count; t++)
                memcpy(texts[owner[slot]].logprobs[t], s->logprobs + (size_t)t * (1 + (size_t)s->query.wishes.top_logprobs),
                       (1 + (size_t)s->query.wishes.top_logprobs) * sizeof *s->logprobs);
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
        assert_memory_equal(a[i].logprobs, b[i].logprobs, sizeof a[i].logprobs);
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

/* Requests that want more of their rows than a token, of a device that does not give it: the same text, and no histogram is made for them. */
static void test_whole_rows(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    slip_executor_kind filtering = filter_device_kind();
    static text plain[REQUESTS], other[REQUESTS];
    filtering.likeliest = NULL;
    decode(checkpoint, &(setting){.sequences = 2, .chunk = 64}, true, plain);
    filter_device.histogram_rows = filter_device.drawn_again = 0;
    decode(checkpoint, &(setting){.kind = &filtering, .sequences = 5, .chunk = 64, .draft = true}, true, other);
    assert_texts(plain, other);
    assert_true(filter_device.histogram_rows == 0 && filter_device.drawn_again == 0);
    decode(checkpoint, &(setting){.kind = &filtering, .sequences = 5, .chunk = 64, .draft = true}, false, other);
    assert_texts(plain, other);
}

/* Bias, penalties and logprobs, with filters and without: tokens and logprobs to the last bit are those of whole rows on the host, by devices
 * that filter and by those that do not, drafted or not. */
static void test_changed_rows(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_executor_kind filtering = filter_device_kind();
    slip_executor_kind host = slip_executor_cpu, half = filter_device_kind();
    host.likeliest = half.likeliest = NULL;
    const setting settings[] = {
        {.kind = &slip_executor_cpu, .sequences = 1, .chunk = 64},
        {.kind = &slip_executor_cpu, .sequences = 6, .chunk = 3, .draft = true},
        {.kind = &half, .sequences = 5, .chunk = 64, .draft = true},
        {.kind = &filtering, .sequences = 1, .chunk = 64},
        {.kind = &filtering, .sequences = 1, .chunk = 64, .draft = true},
        {.kind = &filtering, .sequences = 7, .chunk = 2, .draft = true, .paced = true},
        {.ahead = true, .sequences = 4, .chunk = 64, .draft = true},
    };
    static text plain[REQUESTS], other[REQUESTS];
    changed = true;
    filter_device.changed_or_told = 0;
    decode(checkpoint, &(setting){.kind = &host, .sequences = 2, .chunk = 64}, false, plain);
    assert_true(filter_device.changed_or_told == 0);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        memset(other, 0, sizeof other);
        decode(checkpoint, &settings[i], false, other);
        assert_texts(plain, other);
    }
    assert_true(filter_device.changed_or_told > 0);
    changed = false;
}

static int open_fixture(void **state)
{
    ahead_make();
    return tiny_checkpoint_open(state, "pro-split-bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_texts), cmocka_unit_test(test_whole_rows),
                                       cmocka_unit_test(test_changed_rows)};
    return cmocka_run_group_tests(tests, open_fixture, tiny_checkpoint_close);
}
