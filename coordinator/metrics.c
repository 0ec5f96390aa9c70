#include "coordinator/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/json.h"

void slip_times_add(slip_times *times, double ms)
{
    times->ms[times->count++ % SLIP_TIMES] = (float)ms;
    times->sum += ms;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double slip_times_quantile(const slip_times *times, double q)
{
    size_t count = (size_t)(times->count < SLIP_TIMES ? times->count : SLIP_TIMES);
    float *sorted = malloc(count * sizeof *sorted + 1);
    double value = 0;
    if (sorted && count > 0) {
        memcpy(sorted, times->ms, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, by_value);
        value = sorted[(size_t)(q * (double)(count - 1) + 0.5)];
    }
    free(sorted);
    return value;
}

static double tokens_per_second(const slip_metrics *metrics)
{
    return metrics->seconds > 0 ? (double)metrics->tokens / metrics->seconds : 0;
}

double slip_metrics_prompt_tokens_per_second(const slip_metrics *metrics)
{
    return metrics->prefill_seconds > 0 ? (double)metrics->prompt_tokens / metrics->prefill_seconds : 0;
}

static double gb_per_second(uint64_t bytes, double seconds)
{
    return seconds > 0 ? (double)bytes / seconds * 1e-9 : 0;
}

static double full_tokens_per_second(const slip_full_steps *full)
{
    return full->seconds > 0 ? (double)full->tokens / full->seconds : 0;
}

double slip_metrics_full_tokens_per_second(const slip_metrics *metrics)
{
    return full_tokens_per_second(&metrics->full);
}

double slip_metrics_full_gb_per_second(const slip_metrics *metrics)
{
    return gb_per_second(metrics->full.verify_bytes, metrics->full.verify_seconds);
}

static double rows_per_sequence(const slip_metrics *metrics)
{
    return metrics->verified_blocks > 0 ? (double)metrics->verified_rows / (double)metrics->verified_blocks : 0;
}

static double drafted_share(const slip_metrics *metrics)
{
    return metrics->step.count > 0 ? 1 - (double)metrics->plain_steps / (double)metrics->step.count : 0;
}

/* The highest j with a count, so that a block of 8 shows 8 columns. */
static int histogram_size(const slip_acceptance *record)
{
    int size = 8;
    for (int j = size; j < SLIP_MAX_BLOCK; j++)
        if (record->histogram[j])
            size = j + 1;
    return size;
}

static void print_full(const slip_full_steps *full, FILE *out)
{
    if (full->step.count == 0)
        return;
    fprintf(out,
            "# full steps       %lld of %d sequence%s, %.2f tokens each: %.1f tokens/s; median %.2f ms, verify %.2f ms, "
            "%.2f GB/s a rank\n",
            (long long)full->step.count, full->sequences, full->sequences == 1 ? "" : "s", (double)full->tokens / (double)full->step.count,
            full_tokens_per_second(full), slip_times_quantile(&full->step, 0.5), slip_times_quantile(&full->verify, 0.5),
            gb_per_second(full->verify_bytes, full->verify_seconds));
}

void slip_metrics_print(const slip_metrics *f, const slip_run_facts *facts, FILE *out)
{
    slip_facts_print(facts, out);
    fprintf(
        out,
        "# tokens           %lld in %.2f s: %.1f tokens/s; time to first token median %.1f ms, p99 %.1f ms; between tokens %.2f ms, p99 "
        "%.2f ms\n",
        (long long)f->tokens, f->seconds, tokens_per_second(f), slip_times_quantile(&f->first_token, 0.5),
        slip_times_quantile(&f->first_token, 0.99), slip_times_quantile(&f->between, 0.5), slip_times_quantile(&f->between, 0.99));
    fprintf(out, "# prompt           %lld tokens in %.2f s: %.1f tokens/s, %.2f GB/s a rank\n", (long long)f->prompt_tokens,
            f->prefill_seconds, slip_metrics_prompt_tokens_per_second(f), gb_per_second(f->prefill_bytes, f->prefill_seconds));
    fprintf(out,
            "# acceptance       mean length %.2f (bonus token included) over %lld drafted blocks; those that accepted 0, 1, ... drafts:",
            slip_acceptance_mean(&f->acceptance), (long long)f->acceptance.steps);
    for (int j = 0; j < histogram_size(&f->acceptance); j++)
        fprintf(out, " %lld", (long long)f->acceptance.histogram[j]);
    fprintf(out,
            "\n# step             median %.2f ms, p99 %.2f ms; draft %.2f ms, verify %.2f ms (medians); %lld steps without a draft, %.1f "
            "rows verified a sequence; host %.1f us a step\n",
            slip_times_quantile(&f->step, 0.5), slip_times_quantile(&f->step, 0.99), slip_times_quantile(&f->draft, 0.5),
            slip_times_quantile(&f->verify, 0.5), (long long)f->plain_steps, rows_per_sequence(f),
            1e3 * slip_times_quantile(&f->host, 0.5));
    print_full(&f->full, out);
    fprintf(out, "# weights          %.2f GB/s a rank while verifying", gb_per_second(f->verify_bytes, f->verify_seconds));
    if (f->draft_bytes > 0)
        fprintf(out, "; a draft reads %.1f MB on each rank that has a share", (double)f->draft_bytes * 1e-6);
    if (f->stream_ceiling > 0)
        fprintf(out, "; stream ceiling %.2f GB/s", f->stream_ceiling);
    fputc('\n', out);
    slip_facts_print_emulated(facts, out);
}

/* ---- JSON: what nothing was measured of is null ---- */

static json_t *quantile_json(const slip_times *times, double q)
{
    return slip_json_number(times->count > 0 ? slip_times_quantile(times, q) : NAN);
}

static json_t *rate_json(double rate, double seconds)
{
    return slip_json_number(seconds > 0 ? rate : NAN);
}

static json_t *acceptance_json(const slip_acceptance *record)
{
    json_t *histogram = json_array();
    for (int j = 0; j < histogram_size(record); j++)
        json_array_append_new(histogram, json_integer(record->histogram[j]));
    return json_pack("{s:o,s:o,s:I,s:I,s:I}", "mean_acceptance_length",
                     slip_json_number(record->steps > 0 ? slip_acceptance_mean(record) : NAN), "acceptance_histogram", histogram,
                     "num_spec_steps", (json_int_t)record->steps, "num_draft_tokens", (json_int_t)record->draft_tokens,
                     "num_accepted_draft_tokens", (json_int_t)record->accepted);
}

static json_t *full_json(const slip_full_steps *full)
{
    double rate = gb_per_second(full->verify_bytes, full->verify_seconds);
    return json_pack("{s:I,s:i,s:I,s:o,s:o,s:o,s:o,s:o}", "steps", (json_int_t)full->step.count, "sequences", full->sequences, "tokens",
                     (json_int_t)full->tokens, "tokens_per_second", rate_json(full_tokens_per_second(full), full->seconds), "median_ms",
                     quantile_json(&full->step, 0.5), "verify_median_ms", quantile_json(&full->verify, 0.5), "gb_per_second_per_rank",
                     rate_json(rate, full->verify_seconds), "gb_per_second_per_gpu", rate_json(rate, full->verify_seconds));
}

static json_t *span_json(const slip_times *times)
{
    return json_pack("{s:o,s:o}", "median", quantile_json(times, 0.5), "p99", quantile_json(times, 0.99));
}

static json_t *step_json(const slip_metrics *f)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o}", "median", quantile_json(&f->step, 0.5), "p99", quantile_json(&f->step, 0.99), "draft_median",
                     quantile_json(&f->draft, 0.5), "verify_median", quantile_json(&f->verify, 0.5), "host_median",
                     quantile_json(&f->host, 0.5));
}

json_t *slip_metrics_measured_json(const slip_metrics *f)
{
    double rate = gb_per_second(f->verify_bytes, f->verify_seconds), prompt_rate = gb_per_second(f->prefill_bytes, f->prefill_seconds);
    return json_pack("{s:I,s:o,s:f,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:o,s:o,s:I,s:I,s:o,s:o,s:o}", "tokens", (json_int_t)f->tokens,
                     "tokens_per_second", rate_json(tokens_per_second(f), f->seconds), "work_seconds", f->seconds, "prompt_tokens",
                     (json_int_t)f->prompt_tokens, "prompt_tokens_per_second",
                     rate_json(slip_metrics_prompt_tokens_per_second(f), f->prefill_seconds), "prompt_gb_per_second_per_rank",
                     rate_json(prompt_rate, f->prefill_seconds), "prompt_gb_per_second_per_gpu", rate_json(prompt_rate, f->prefill_seconds),
                     "acceptance", acceptance_json(&f->acceptance), "time_to_first_token_ms", span_json(&f->first_token),
                     "time_between_tokens_ms", span_json(&f->between), "step_ms", step_json(f), "full_steps", full_json(&f->full),
                     "steps_without_draft", (json_int_t)f->plain_steps, "drafted_step_share",
                     rate_json(drafted_share(f), (double)f->step.count), "verified_rows_per_sequence",
                     rate_json(rows_per_sequence(f), (double)f->verified_blocks), "draft_weight_bytes_per_rank", (json_int_t)f->draft_bytes,
                     "draft_weight_bytes_per_gpu", (json_int_t)f->draft_bytes, "gb_per_second_per_rank", rate_json(rate, f->verify_seconds),
                     "gb_per_second_per_gpu", rate_json(rate, f->verify_seconds), "stream_ceiling_gb_per_second",
                     rate_json(f->stream_ceiling, f->stream_ceiling));
}

json_t *slip_metrics_json(const slip_metrics *f, const slip_run_facts *facts)
{
    json_t *object = slip_facts_json(facts), *measured = slip_metrics_measured_json(f);
    json_object_update(object, measured);
    json_decref(measured);
    return object;
}
