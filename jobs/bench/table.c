#include "jobs/bench/table.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "io/base/status.h"
#include "jobs/report/page.h"
#include "jobs/report/plot.h"

enum { NAME = 48, TIP = 96 };

void slip_bench_table_free(slip_bench_table *table)
{
    for (int i = 0; i < table->count; i++)
        json_decref(table->row[i].measured);
    table->count = 0;
}

void slip_bench_table_add(slip_bench_table *table, int64_t prompt_tokens, int32_t sequences, int ranks, double flops, bool json,
                          const slip_metrics *metrics)
{
    double rate = slip_metrics_full_tokens_per_second(metrics), prompts = slip_metrics_prompt_tokens_per_second(metrics);
    table->tokens += metrics->tokens;
    table->work_seconds += metrics->seconds;
    table->row[table->count++] = (slip_bench_row){
        .prompt_tokens = prompt_tokens,
        .sequences = sequences,
        .tokens_per_second = rate,
        .tokens_per_second_per_rank = rate / ranks,
        .first_token_ms = slip_times_quantile(&metrics->first_token, 0.5),
        .first_token_p99 = slip_times_quantile(&metrics->first_token, 0.99),
        .between_ms = slip_times_quantile(&metrics->between, 0.5),
        .between_p99 = slip_times_quantile(&metrics->between, 0.99),
        .step_ms = slip_times_quantile(&metrics->full.step, 0.5),
        .draft_ms = slip_times_quantile(&metrics->draft, 0.5),
        .verify_ms = slip_times_quantile(&metrics->full.verify, 0.5),
        .acceptance = slip_acceptance_mean(&metrics->acceptance),
        .gb_per_second = slip_metrics_full_gb_per_second(metrics),
        .prompt_tokens_per_second = prompts,
        .prompt_tflop_per_second = prompts / (double)prompt_tokens * flops * 1e-12,
        .measured = json ? slip_metrics_measured_json(metrics) : NULL,
    };
}

void slip_bench_table_print(const slip_bench_table *table, FILE *out)
{
    fputs("#                      decoding, all sequences together                          time between tokens  time to first token  "
          "prompts\n"
          "# prompt sequences     tokens/s   a rank   step  draft verify accepted   GB/s       median      p99      median      p99  "
          "tokens/s "
          "TFLOP/s\n",
          out);
    for (int i = 0; i < table->count; i++) {
        const slip_bench_row *r = &table->row[i];
        fprintf(out, "# %6lld %9d %12.1f %8.1f %6.2f %6.2f %6.2f %8.2f %6.2f %12.2f %8.2f %11.1f %8.1f %9.1f %7.3f\n",
                (long long)r->prompt_tokens, r->sequences, r->tokens_per_second, r->tokens_per_second_per_rank, r->step_ms, r->draft_ms,
                r->verify_ms, r->acceptance, r->gb_per_second, r->between_ms, r->between_p99, r->first_token_ms, r->first_token_p99,
                r->prompt_tokens_per_second, r->prompt_tflop_per_second);
    }
    fputs("# times in milliseconds, medians but for p99; GB/s and TFLOP/s of a rank\n", out);
}

json_t *slip_bench_table_json(const slip_bench_table *table)
{
    json_t *rows = json_array();
    for (int i = 0; i < table->count; i++) {
        const slip_bench_row *r = &table->row[i];
        json_t *row = json_pack("{s:I,s:i,s:f,s:f}", "prompt_tokens_per_sequence", (json_int_t)r->prompt_tokens, "sequences", r->sequences,
                                "tokens_per_second_per_rank", r->tokens_per_second_per_rank, "prompt_tflop_per_second_per_rank",
                                r->prompt_tflop_per_second);
        json_object_update(row, r->measured);
        json_array_append_new(rows, row);
    }
    return rows;
}

/* ---- plots ---- */

typedef struct {
    const char *title, *unit;
    size_t value, second; /* offsets in a row; 0: no second bar */
    const char *value_name, *second_name;
} plot_spec;

#define AT(field) offsetof(slip_bench_row, field)
static const plot_spec plots[] = {
    {"Decoding, all sequences together", "tokens/s", AT(tokens_per_second), 0, NULL, NULL},
    {"Time between tokens", "ms", AT(between_ms), AT(between_p99), "median", "p99"},
    {"Time to first token, all prompts together", "ms", AT(first_token_ms), AT(first_token_p99), "median", "p99"},
    {"Reading prompts", "tokens/s", AT(prompt_tokens_per_second), 0, NULL, NULL},
};

static double value_at(const slip_bench_row *row, size_t offset)
{
    return *(const double *)(const void *)((const char *)row + offset);
}

static void plot_rows(const slip_bench_table *table, const plot_spec *spec, const char *const *names, FILE *out)
{
    double most = 0, width = spec->second ? 0.4 : 0.8;
    slip_plot plot;
    for (int i = 0; i < table->count; i++)
        most = fmax(most, fmax(value_at(&table->row[i], spec->value), spec->second ? value_at(&table->row[i], spec->second) : 0));
    slip_plot_begin(&plot,
                    &(slip_plot_axes){.title = spec->title,
                                      .x = "sequences x tokens of a prompt",
                                      .y = spec->unit,
                                      .x0 = -0.5,
                                      .x1 = table->count - 0.5,
                                      .y1 = most,
                                      .whole_x = true,
                                      .names = names},
                    out);
    for (int i = 0; i < table->count; i++)
        for (int bar = 0; bar < (spec->second ? 2 : 1); bar++) {
            double value = value_at(&table->row[i], bar ? spec->second : spec->value), left = i - 0.4 + bar * width;
            char tip[TIP];
            snprintf(tip, sizeof tip, "%s: %.2f %s", names[i], value, spec->unit);
            slip_plot_bar(&plot, left, left + width, 0, value, "ab"[bar], tip);
        }
    if (spec->second) {
        slip_plot_legend(&plot, 0, 'a', spec->value_name);
        slip_plot_legend(&plot, 1, 'b', spec->second_name);
    }
    slip_plot_end(&plot);
}

static slip_status put_table(const slip_bench_table *table, FILE *out)
{
    char *text = NULL;
    size_t size = 0;
    FILE *lines = open_memstream(&text, &size);
    if (!lines)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_bench_table_print(table, lines);
    bool broken = fclose(lines) != 0;
    if (!broken)
        slip_page_table(text, out);
    free(text);
    return broken ? slip_fail(SLIP_ERR_FAILED, "out of memory") : SLIP_OK;
}

slip_status slip_bench_table_page(const slip_bench_table *table, const slip_run_facts *facts, FILE *out)
{
    char words[SLIP_LIST_MAX * SLIP_LIST_MAX][NAME];
    const char *names[SLIP_LIST_MAX * SLIP_LIST_MAX];
    for (int i = 0; i < table->count; i++) {
        snprintf(words[i], NAME, "%d x %lld", table->row[i].sequences, (long long)table->row[i].prompt_tokens);
        names[i] = words[i];
    }
    slip_page_begin("slipstream bench", facts->model, out);
    fprintf(out, "<p>%s, %d rank%s, expert slices %d", facts->device, facts->ranks, facts->ranks == 1 ? "" : "s", facts->expert_slices);
    for (int i = 0; i < facts->emulated_count; i++)
        fprintf(out, "; %s", facts->emulated[i]);
    fputs("</p>\n<main>\n", out);
    for (size_t i = 0; i < sizeof plots / sizeof *plots; i++)
        plot_rows(table, &plots[i], names, out);
    fputs("</main>\n", out);
    slip_status status = put_table(table, out);
    slip_page_end(out);
    return status;
}
