/* The metrics: quantiles, the JSON object, and lines that begin with a hash sign. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/metrics.h"

static slip_metrics metrics; /* large: rings of times */

static const char *host_of(const void *context, int rank)
{
    return ((const char *const *)context)[rank];
}

static slip_run_facts facts_make(void)
{
    static const char *const hosts[] = {"node7", "node9"};
    static char *argv[] = {"slipstream", "bench", "-m", "model.h5"};
    static const int64_t peaks[] = {3000, 5000};
    return (slip_run_facts){.command = "bench",
                            .peak_bytes = peaks,
                            .requests = 7,
                            .failed = 2,
                            .unfinished = 1,
                            .seconds = 9,
                            .argc = 4,
                            .argv = argv,
                            .device = "cpu",
                            .model = "model.h5",
                            .ranks = 2,
                            .host = host_of,
                            .context = hosts,
                            .expert_slices = 2,
                            .emulated = {"random weights", "absent peers 1-7"},
                            .emulated_count = 2};
}

static void metrics_make(void)
{
    memset(&metrics, 0, sizeof metrics);
    for (int i = 1; i <= 100; i++) {
        slip_times_add(&metrics.step, i);
        slip_times_add(&metrics.draft, 1000 + i);
        slip_times_add(&metrics.verify, 2000 + i);
        slip_times_add(&metrics.first_token, 3000 + i);
    }
    for (int i = 0; i < 4; i++)
        slip_acceptance_count(&metrics.acceptance, 7, 2 * i);
    metrics.tokens = 50;
    metrics.prompt_tokens = 768;
    metrics.prefill_seconds = 0.5;
    metrics.prefill_bytes = 1000000000;
    for (int i = 1; i <= 20; i++) {
        slip_times_add(&metrics.full.step, 4000 + i);
        slip_times_add(&metrics.full.verify, 5000 + i);
    }
    metrics.full.sequences = 8;
    metrics.full.tokens = 1000;
    metrics.full.seconds = 4;
    metrics.full.verify_seconds = 3;
    metrics.full.verify_bytes = 21000000000;
    metrics.seconds = 2.5;
    metrics.verify_seconds = 2;
    metrics.plain_steps = metrics.step.count / 4;
    metrics.verified_blocks = 40;
    metrics.verified_rows = 130;
    metrics.verify_bytes = 3000000000;
    metrics.stream_ceiling = 12.5;
}

static void test_quantiles(void **state)
{
    (void)state;
    static slip_times times;
    memset(&times, 0, sizeof times);
    assert_true(slip_times_quantile(&times, 0.5) == 0);
    slip_times_add(&times, 4);
    assert_true(slip_times_quantile(&times, 0.5) == 4 && slip_times_quantile(&times, 0.99) == 4);
    for (int i = 0; i < 100; i++)
        slip_times_add(&times, 104 - i);
    assert_true(slip_times_quantile(&times, 0) == 4 && slip_times_quantile(&times, 1) == 104);
    assert_true(slip_times_quantile(&times, 0.5) == 54 && slip_times_quantile(&times, 0.99) == 103);
    for (int i = 0; i < SLIP_TIMES; i++) /* the ring keeps the last ones */
        slip_times_add(&times, 1);
    assert_true(slip_times_quantile(&times, 0) == 1 && slip_times_quantile(&times, 1) == 1 && times.count == SLIP_TIMES + 101);
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void assert_words(const json_t *array, const char *const *words, size_t count)
{
    assert_int_equal(json_array_size(array), count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(json_string_value(json_array_get(array, i)), words[i]);
}

static void check_acceptance(const json_t *acceptance)
{
    const json_t *histogram = json_object_get(acceptance, "acceptance_histogram");
    assert_true(number(acceptance, "mean_acceptance_length") == 4);
    assert_true(number(acceptance, "num_spec_steps") == 4 && number(acceptance, "num_draft_tokens") == 28);
    assert_true(number(acceptance, "num_accepted_draft_tokens") == 12);
    assert_int_equal(json_array_size(histogram), 8);
    for (size_t j = 0; j < 8; j++)
        assert_int_equal(json_integer_value(json_array_get(histogram, j)), j % 2 == 0);
}

static void check_full(const json_t *full)
{
    assert_true(number(full, "steps") == 20 && number(full, "sequences") == 8 && number(full, "tokens") == 1000);
    assert_true(number(full, "tokens_per_second") == 250 && number(full, "gb_per_second_per_gpu") == 7);
    assert_true(number(full, "median_ms") == 4011 && number(full, "verify_median_ms") == 5011);
}

static void test_json(void **state)
{
    (void)state;
    static const char *const argv[] = {"slipstream", "bench", "-m", "model.h5"};
    static const char *const emulated[] = {"random weights", "absent peers 1-7"};
    slip_run_facts facts = facts_make();
    metrics_make();
    json_t *object = slip_metrics_json(&metrics, &facts);
    assert_true(json_is_object(object));
    assert_int_equal(json_integer_value(json_object_get(object, "schema")), 1);
    assert_true(json_is_string(json_object_get(object, "version")) && json_is_string(json_object_get(object, "commit")));
    assert_string_equal(json_string_value(json_object_get(object, "device")), "cpu");
    assert_string_equal(json_string_value(json_object_get(object, "model")), "model.h5");
    assert_words(json_object_get(object, "argv"), argv, 4);
    assert_words(json_object_get(object, "emulated"), emulated, 2);
    assert_true(number(object, "expert_slices") == 2 && number(object, "tokens") == 50);
    assert_true(number(object, "tokens_per_second") == 20);
    assert_true(number(object, "prompt_tokens") == 768 && number(object, "prompt_tokens_per_second") == 1536);
    assert_true(number(object, "gb_per_second_per_gpu") == 1.5 && number(object, "stream_ceiling_gb_per_second") == 12.5);
    assert_true(number(object, "prompt_gb_per_second_per_gpu") == 2 && number(object, "prompt_gb_per_second_per_rank") == 2);
    assert_true(number(object, "gb_per_second_per_rank") == 1.5 && number(object, "work_seconds") == 2.5);
    assert_true(number(object, "requests") == 7 && number(object, "failed") == 2 && number(object, "unfinished") == 1);
    assert_true(number(object, "peak_memory_bytes") == 5000 && number(object, "seconds") == 9);
    assert_string_equal(json_string_value(json_object_get(object, "command")), "bench");
    check_acceptance(json_object_get(object, "acceptance"));
    check_full(json_object_get(object, "full_steps"));
    assert_true(number(object, "drafted_step_share") == 0.75 && number(object, "verified_rows_per_sequence") == 3.25);
    const json_t *first = json_object_get(object, "time_to_first_token_ms"), *step = json_object_get(object, "step_ms");
    assert_true(number(first, "median") == 3051 && number(first, "p99") == 3099);
    assert_true(number(step, "median") == 51 && number(step, "p99") == 99);
    assert_true(number(step, "draft_median") == 1051 && number(step, "verify_median") == 2051);
    const json_t *second = json_array_get(json_object_get(object, "ranks"), 1);
    assert_int_equal(json_array_size(json_object_get(object, "ranks")), 2);
    assert_true(number(second, "rank") == 1 && number(second, "peak_memory_bytes") == 5000);
    assert_string_equal(json_string_value(json_object_get(second, "host")), "node9");
    assert_string_equal(json_string_value(json_object_get(second, "device")), "cpu");
    json_decref(object);
}

static bool is_null(const json_t *object, const char *key)
{
    return json_is_null(json_object_get(object, key));
}

/* What nothing was measured of is null, as in a result line and in a report: a median of 0 ms would be a figure. */
static void test_empty_run(void **state)
{
    (void)state;
    slip_run_facts facts = facts_make();
    memset(&metrics, 0, sizeof metrics);
    facts.emulated_count = 0;
    json_t *object = slip_metrics_json(&metrics, &facts);
    assert_non_null(object);
    const json_t *full = json_object_get(object, "full_steps"), *step = json_object_get(object, "step_ms");
    assert_true(is_null(object, "prompt_tokens_per_second") && is_null(object, "prompt_gb_per_second_per_gpu"));
    assert_true(is_null(full, "tokens_per_second") && is_null(full, "median_ms") && is_null(full, "gb_per_second_per_rank"));
    assert_true(is_null(object, "tokens_per_second") && is_null(object, "gb_per_second_per_gpu"));
    assert_true(is_null(json_object_get(object, "acceptance"), "mean_acceptance_length"));
    assert_true(is_null(json_object_get(object, "time_to_first_token_ms"), "median") && is_null(step, "p99") &&
                is_null(step, "host_median"));
    assert_true(is_null(object, "stream_ceiling_gb_per_second"));
    assert_true(number(object, "tokens") == 0 && number(object, "work_seconds") == 0 && number(full, "steps") == 0);
    assert_int_equal(json_array_size(json_object_get(object, "emulated")), 0);
    json_decref(object);
}

static void test_print(void **state)
{
    (void)state;
    slip_run_facts facts = facts_make();
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    metrics_make();
    slip_metrics_print(&metrics, &facts, out);
    fclose(out);
    for (char *line = text; *line; line = strchr(line, '\n') + 1) {
        assert_int_equal(line[0], '#');
        assert_non_null(strchr(line, '\n'));
    }
    static const char *const said[] = {
        "20.0 tokens/s",
        "768 tokens in 0.50 s: 1536.0 tokens/s, 2.00 GB/s a rank\n",
        "20 of 8 sequences, 50.00 tokens each: 250.0 tokens/s; median 4011.00 ms, verify 5011.00 ms, 7.00 GB/s",
        "mean length 4.00",
        "1 0 1 0 1 0 1 0\n",
        "median 51.00 ms",
        "1.50 GB/s",
        "12.50 GB/s",
        "random weights\n",
        "absent peers 1-7\n",
        "2 ranks"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        assert_non_null(strstr(text, said[i]));
    free(text);
}

static void test_clock(void **state)
{
    (void)state;
    double before = slip_now_ms(), now = before;
    while (now == before)
        now = slip_now_ms();
    assert_true(now > before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles), cmocka_unit_test(test_json),  cmocka_unit_test(test_empty_run),
        cmocka_unit_test(test_print),     cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
