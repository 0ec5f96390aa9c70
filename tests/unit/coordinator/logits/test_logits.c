/* Bias, penalties and logprobs by their definitions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "coordinator/logits/logits.h"
#include "tiny_random.h"

enum { VOCABULARY = 50, PROMPT = 12, ANSWER = 9 };

/* What every token's logit becomes, token by token, from its numbers of places in prompt and answer. */
static float by_definition(float logit, double bias, const slip_sampling *s, int in_prompt, int in_answer)
{
    double x = (double)(float)(logit + (float)bias);
    if (in_prompt + in_answer > 0)
        x = x > 0 ? x / s->repetition_penalty : x * s->repetition_penalty;
    x -= s->frequency_penalty * in_answer + (in_answer > 0 ? s->presence_penalty : 0);
    return (float)x;
}

static void test_adjust(void **state)
{
    (void)state;
    static const slip_bias biases[] = {{0, 3}, {7, -100}, {VOCABULARY - 1, 0.5f}};
    const slip_row_wishes wishes = {.biases = biases, .bias_count = 3};
    for (uint64_t seed = 0; seed < 40; seed++) {
        const slip_sampling sampling = {
            .presence_penalty = 0.5 * (double)(seed % 3), .frequency_penalty = 0.25 * (double)(seed % 5) - 0.5, .repetition_penalty = 1.3};
        int32_t prompt[PROMPT], in_prompt[VOCABULARY] = {0}, in_answer[VOCABULARY] = {0};
        float before[VOCABULARY], after[VOCABULARY];
        slip_past past;
        for (int i = 0; i < PROMPT; i++)
            in_prompt[prompt[i] = (int32_t)tiny_below(seed, (uint64_t)i, VOCABULARY)]++;
        assert_int_equal(slip_past_start(&past, &sampling, VOCABULARY, prompt, PROMPT), SLIP_OK);
        for (int i = 0; i < ANSWER; i++) {
            int32_t token = (int32_t)tiny_below(seed + 100, (uint64_t)i, VOCABULARY / 4);
            in_answer[token]++;
            slip_past_add(&past, token);
        }
        tiny_fill(seed, 4.0f, VOCABULARY, before);
        memcpy(after, before, sizeof after);
        slip_logits_adjust(after, &wishes, &sampling, &past);
        for (int i = 0; i < VOCABULARY; i++) {
            double bias = i == 0 ? 3 : i == 7 ? -100 : i == VOCABULARY - 1 ? 0.5 : 0;
            assert_true(after[i] == by_definition(before[i], bias, &sampling, in_prompt[i], in_answer[i]));
        }
        slip_past_free(&past);
    }
}

/* A device's list of what changes, in rows behind drafts: the same bits as the host's rows after these tokens. */
static void test_lists(void **state)
{
    (void)state;
    enum { DRAFTS = 4 };
    static const slip_bias biases[] = {{0, 3}, {7, -100}, {VOCABULARY - 1, 0.5f}};
    static int32_t marks[VOCABULARY];
    for (uint64_t seed = 0; seed < 60; seed++) {
        const slip_row_wishes wishes = {.biases = biases, .bias_count = (int32_t)(seed % 4)};
        const slip_sampling sampling = {.presence_penalty = 0.5 * (double)(seed % 3),
                                        .frequency_penalty = 0.25 * (double)(seed % 5) - 0.5,
                                        .repetition_penalty = seed % 2 ? 1.3 : 1};
        int32_t prompt[PROMPT], block[1 + DRAFTS];
        float before[VOCABULARY], host[VOCABULARY];
        slip_adjustment list[PROMPT + ANSWER + DRAFTS + 3];
        slip_past past;
        for (int i = 0; i < PROMPT; i++)
            prompt[i] = (int32_t)tiny_below(seed, (uint64_t)i, VOCABULARY);
        for (int i = 0; i <= DRAFTS; i++)
            block[i] = (int32_t)tiny_below(seed + 200, (uint64_t)i, VOCABULARY / 8);
        assert_int_equal(slip_past_start(&past, &sampling, VOCABULARY, prompt, PROMPT), SLIP_OK);
        for (int i = 0; i < ANSWER; i++)
            slip_past_add(&past, (int32_t)tiny_below(seed + 100, (uint64_t)i, VOCABULARY / 4));
        tiny_fill(seed, 4.0f, VOCABULARY, before);
        const int32_t count = slip_logits_adjustments(&wishes, &sampling, &past, block + 1, DRAFTS, marks, list);
        assert_true(count <= slip_logits_adjustment_room(&wishes, &past, DRAFTS));
        for (int row = 0; row <= DRAFTS; row++) {
            float device[VOCABULARY];
            if (row > 0)
                slip_past_add(&past, block[row]);
            memcpy(host, before, sizeof host);
            memcpy(device, before, sizeof device);
            slip_logits_adjust(host, &wishes, &sampling, &past);
            for (int32_t i = 0; i < count; i++)
                device[list[i].token] = slip_adjusted(device[list[i].token], &sampling, list[i].bias,
                                                      slip_adjustment_counts(list[i].counts, list[i].token, block, row));
            assert_memory_equal(host, device, sizeof host);
        }
        for (int i = 0; i < VOCABULARY; i++)
            assert_int_equal(marks[i], 0);
        slip_past_free(&past);
    }
}

/* Presence and frequency look at the answer alone, repetition at the prompt, too; without penalties nothing is counted. */
static void test_what_counts(void **state)
{
    (void)state;
    const int32_t prompt[] = {2, 2, 3};
    const slip_row_wishes none = {0};
    slip_past past;
    float logits[4] = {1, 1, 1, -1};
    slip_sampling sampling = {.repetition_penalty = 2};
    assert_int_equal(slip_past_start(&past, &sampling, 4, prompt, 3), SLIP_OK);
    slip_logits_adjust(logits, &none, &sampling, &past);
    assert_true(logits[0] == 1 && logits[1] == 1 && logits[2] == 0.5f && logits[3] == -2);
    slip_past_free(&past);
    sampling = (slip_sampling){.presence_penalty = 1, .frequency_penalty = 1, .repetition_penalty = 1};
    assert_int_equal(slip_past_start(&past, &sampling, 4, prompt, 3), SLIP_OK);
    slip_past_add(&past, 1);
    slip_past_add(&past, 1);
    slip_logits_adjust(logits, &none, &sampling, &past);
    assert_true(logits[0] == 1 && logits[1] == -2 && logits[2] == 0.5f && logits[3] == -2);
    slip_past_free(&past);
    sampling = (slip_sampling){.repetition_penalty = 1};
    assert_int_equal(slip_past_start(&past, &sampling, 4, prompt, 3), SLIP_OK);
    slip_past_add(&past, 1);
    assert_true(past.counts == NULL && past.count == 0);
    assert_false(slip_logits_adjusts(&none, &sampling));
}

/* log softmax, summed the long way; the likeliest by counting those that are likelier. */
static void test_logprobs(void **state)
{
    (void)state;
    enum { TOP = 5 };
    for (uint64_t seed = 0; seed < 40; seed++) {
        float logits[VOCABULARY];
        slip_logprob out[1 + TOP] = {{.token = (int32_t)(seed % VOCABULARY)}};
        double sum = 0;
        tiny_fill(seed, 4.0f, VOCABULARY, logits);
        logits[3] = logits[40] = logits[20];
        for (int i = 0; i < VOCABULARY; i++)
            sum += exp(logits[i]);
        slip_logprobs(logits, VOCABULARY, TOP, out);
        for (int j = 0; j <= TOP; j++)
            assert_true(fabs(out[j].value - log(exp(logits[out[j].token]) / sum)) < 1e-6);
        for (int i = 0; i < VOCABULARY; i++) {
            int likelier = 0;
            for (int k = 0; k < VOCABULARY; k++)
                likelier += logits[k] > logits[i] || (logits[k] == logits[i] && k < i);
            assert_true(likelier >= TOP || out[1 + likelier].token == i);
        }
    }
    const float two[] = {0, logf(3)};
    slip_logprob out[1 + 4] = {{.token = 0}};
    slip_logprobs(two, 2, 4, out);
    assert_true(fabs(out[0].value - log(0.25)) < 1e-6 && out[1].token == 1 && out[2].token == 0);
    assert_true(out[3].token == -1 && out[4].token == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adjust),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_what_counts),
        cmocka_unit_test(test_logprobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
