/* The report as one HTML page, plots included. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "jobs/report/page.h"
#include "jobs/report/plot.h"
#include "jobs/report/print.h"

enum { FIRST_TOKEN_BARS = 30, TIP = 96 };

/* ---- over time: the runs' decoding, one after the other ---- */

typedef struct {
    const char *unit;
    double seconds;
} time_unit;

static time_unit unit_for(double seconds)
{
    if (seconds > 2 * 3600)
        return (time_unit){"hours of decoding", 3600};
    if (seconds > 2 * 60)
        return (time_unit){"minutes of decoding", 60};
    return (time_unit){"seconds of decoding", 1};
}

/* Where a run begins that is not the first. */
static void mark_runs(const slip_plot *plot, const slip_trace_data *data, const slip_report *report, double unit)
{
    for (int64_t i = 1; i < data->run_count; i++)
        slip_plot_mark(plot, report->runs[i].offset_s / unit);
}

typedef double (*bin_value)(const slip_report_bin *bin, double seconds);

static double rate(const slip_report_bin *bin, double seconds)
{
    return (double)bin->tokens / seconds;
}

static double acceptance(const slip_report_bin *bin, double seconds)
{
    (void)seconds;
    return bin->blocks > 0 ? 1 + (double)bin->accepted / (double)bin->blocks : 0;
}

static void plot_bins(const slip_trace_data *data, const slip_report *report, const char *title, const char *y, bin_value value, FILE *out)
{
    time_unit unit = unit_for(report->seconds);
    double most = 0, width = report->bin_seconds / unit.seconds;
    slip_plot plot;
    for (int i = 0; i < SLIP_REPORT_BINS; i++)
        most = fmax(most, value(&report->bins[i], report->bin_seconds));
    slip_plot_begin(&plot, &(slip_plot_axes){.title = title, .x = unit.unit, .y = y, .x1 = report->seconds / unit.seconds, .y1 = most},
                    out);
    for (int i = 0; i < SLIP_REPORT_BINS; i++) {
        char tip[TIP];
        double v = value(&report->bins[i], report->bin_seconds);
        snprintf(tip, sizeof tip, "%.2f to %.2f: %.2f", i * width, (i + 1) * width, v);
        slip_plot_bar(&plot, i * width, (i + 0.9) * width, 0, v, 'a', tip);
    }
    mark_runs(&plot, data, report, unit.seconds);
    slip_plot_end(&plot);
}

static void plot_parts(const slip_trace_data *data, const slip_report *report, FILE *out)
{
    time_unit unit = unit_for(report->seconds);
    double most = 0, width = report->bin_seconds / unit.seconds;
    slip_plot plot;
    for (int i = 0; i < SLIP_REPORT_BINS; i++) {
        const slip_report_bin *bin = &report->bins[i];
        if (bin->steps > 0)
            most = fmax(most, (bin->draft_ms + bin->verify_ms + bin->commit_ms) / (double)bin->steps);
    }
    slip_plot_begin(&plot, &(slip_plot_axes){"Parts of a step, mean", unit.unit, "ms", .x1 = report->seconds / unit.seconds, .y1 = most},
                    out);
    for (int i = 0; i < SLIP_REPORT_BINS; i++) {
        const slip_report_bin *bin = &report->bins[i];
        const double part[] = {bin->draft_ms, bin->verify_ms, bin->commit_ms};
        double bottom = 0;
        for (int p = 0; p < 3 && bin->steps > 0; p++) {
            char tip[TIP];
            double ms = part[p] / (double)bin->steps;
            snprintf(tip, sizeof tip, "%.2f: %.3f ms", (i + 0.5) * width, ms);
            slip_plot_bar(&plot, i * width, (i + 0.9) * width, bottom, bottom + ms, "bac"[p], tip);
            bottom += ms;
        }
    }
    slip_plot_legend(&plot, 0, 'b', "draft");
    slip_plot_legend(&plot, 1, 'a', "verify");
    slip_plot_legend(&plot, 2, 'c', "commit");
    mark_runs(&plot, data, report, unit.seconds);
    slip_plot_end(&plot);
}

/* ---- distributions ---- */

static void plot_acceptance(const slip_report *report, FILE *out)
{
    const slip_acceptance *a = &report->acceptance;
    int most = SLIP_MAX_BLOCK;
    double highest = 0;
    slip_plot plot;
    while (most > 8 && a->histogram[most - 1] == 0)
        most--;
    for (int j = 0; j < most; j++)
        highest = fmax(highest, (double)a->histogram[j]);
    slip_plot_begin(&plot,
                    &(slip_plot_axes){.title = "Accepted drafts a block",
                                      .x = "drafts accepted; the block commits one token more",
                                      .y = "blocks",
                                      .x0 = -0.5,
                                      .x1 = most - 0.5,
                                      .y1 = highest,
                                      .whole_x = true},
                    out);
    for (int j = 0; j < most; j++) {
        char tip[TIP];
        snprintf(tip, sizeof tip, "%d: %lld blocks, %.1f %%", j, (long long)a->histogram[j],
                 a->steps > 0 ? 100.0 * (double)a->histogram[j] / (double)a->steps : 0);
        slip_plot_bar(&plot, j - 0.4, j + 0.4, 0, (double)a->histogram[j], 'a', tip);
    }
    slip_plot_end(&plot);
}

static slip_status plot_first_tokens(const slip_trace_data *data, FILE *out)
{
    double *values, longest = 0, highest = 0;
    int64_t bars[FIRST_TOKEN_BARS] = {0};
    size_t count;
    slip_plot plot;
    slip_status status = slip_report_first_tokens(data, &values, &count);
    if (status != SLIP_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        longest = fmax(longest, values[i]);
    for (size_t i = 0; i < count; i++) {
        double bar = values[i] / longest * FIRST_TOKEN_BARS;
        int64_t *at = &bars[bar < FIRST_TOKEN_BARS ? (int)bar : FIRST_TOKEN_BARS - 1];
        highest = fmax(highest, (double)++*at);
    }
    free(values);
    slip_plot_begin(&plot, &(slip_plot_axes){"Time to first token", "ms from admission", "answers", .x1 = longest, .y1 = highest}, out);
    for (int i = 0; i < FIRST_TOKEN_BARS; i++) {
        char tip[TIP];
        double width = longest / FIRST_TOKEN_BARS;
        snprintf(tip, sizeof tip, "%.1f to %.1f ms: %lld", i * width, (i + 1) * width, (long long)bars[i]);
        slip_plot_bar(&plot, i * width, (i + 0.9) * width, 0, (double)bars[i], 'a', tip);
    }
    slip_plot_end(&plot);
    return SLIP_OK;
}

/* Picks over the layer's mean. */
static slip_status plot_experts(const slip_trace_data *data, const slip_report *report, FILE *out)
{
    size_t rows = (size_t)data->layer_count, columns = (size_t)data->experts;
    if (!data->picks)
        return SLIP_OK;
    double *values = malloc(rows * columns * sizeof *values);
    if (!values)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (size_t i = 0; i < rows * columns; i++)
        values[i] = report->layers[i / columns].mean > 0 ? (double)data->picks[i] / report->layers[i / columns].mean : 0;
    slip_plot_map(out, "Expert load, picks over the layer's mean", "expert", "layer", values, rows, columns, data->layers);
    free(values);
    return SLIP_OK;
}

/* ---- the page ---- */

/* The tables are those of the terminal. */
static slip_status put_tables(const slip_trace_data *data, const slip_report *report, FILE *out)
{
    char *text = NULL;
    size_t size = 0;
    FILE *tables = open_memstream(&text, &size);
    if (!tables)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_report_print(data, report, tables);
    bool failed = fclose(tables) != 0;
    if (!failed)
        slip_page_table(text, out);
    free(text);
    return failed ? slip_fail(SLIP_ERR_FAILED, "out of memory") : SLIP_OK;
}

slip_status slip_report_html(const slip_trace_data *data, const slip_report *report, FILE *out)
{
    const slip_trace_run *last = &data->runs[data->run_count - 1];
    char title[sizeof last->model + 32];
    snprintf(title, sizeof title, "%s: report of a run", last->model);
    slip_page_begin(title, last->model, out);
    fprintf(out, "<p>%lld tokens in %.2f s: %.1f tokens/s; %lld requests answered</p>\n<main>\n", (long long)report->tokens,
            report->seconds, slip_report_tokens_per_second(report), (long long)report->answered);
    plot_bins(data, report, "Tokens a second", "tokens/s", rate, out);
    plot_bins(data, report, "Acceptance length over time", "tokens a drafted block", acceptance, out);
    plot_acceptance(report, out);
    slip_status status = plot_first_tokens(data, out);
    plot_parts(data, report, out);
    if (status == SLIP_OK)
        status = plot_experts(data, report, out);
    fputs("</main>\n", out);
    if (status == SLIP_OK)
        status = put_tables(data, report, out);
    slip_page_end(out);
    return status;
}
