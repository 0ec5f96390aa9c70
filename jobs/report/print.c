#include "jobs/report/print.h"

#include <math.h>
#include <string.h>
#include <time.h>

static void print_runs(const slip_trace_data *data, const slip_report *report, FILE *out)
{
    fprintf(out, "runs\n  run  started (UTC)        state    ranks  answered  refused  failed    tokens   seconds  tokens/s\n");
    for (int64_t i = 0; i < data->run_count; i++) {
        const slip_trace_run *run = &data->runs[i];
        const slip_report_run *r = &report->runs[i];
        char when[32] = "?";
        struct tm utc;
        time_t started = isfinite(run->started_unix) && fabs(run->started_unix) < 1e11 ? (time_t)run->started_unix : 0;
        if (gmtime_r(&started, &utc))
            strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &utc);
        fprintf(out, "  %3d  %s  %-7s  %5d  %8lld  %7lld  %6lld  %8lld  %8.2f  %8.1f\n", run->run, when, run->state, run->ranks,
                (long long)r->answered, (long long)r->refused, (long long)(r->failed - r->refused), (long long)r->tokens,
                r->last_s - r->first_s, slip_report_run_rate(r));
    }
    if (strcmp(data->runs[data->run_count - 1].state, "running") == 0)
        fprintf(out, "  The last run goes on, or was killed.\n");
}

static void print_quantiles(FILE *out, const char *name, const slip_report_quantiles *q)
{
    if (q->count > 0)
        fprintf(out, "  %-22s  %10.2f  %10.2f  %9lld\n", name, q->median, q->p99, (long long)q->count);
    else
        fprintf(out, "  %-22s  %10s  %10s  %9d\n", name, "-", "-", 0);
}

static void print_times(const slip_report *report, FILE *out)
{
    fprintf(out, "\ntimes, ms                   median         p99      count\n");
    print_quantiles(out, "time to first token", &report->first_token);
    print_quantiles(out, "whole request", &report->total);
    print_quantiles(out, "step", &report->step);
    print_quantiles(out, "  draft", &report->draft);
    print_quantiles(out, "  verify", &report->verify);
    print_quantiles(out, "  commit", &report->commit);
    fprintf(out, "  %lld steps without a draft; %lld steps that read prompts are not among these\n", (long long)report->plain_steps,
            (long long)report->prompt_steps);
}

static void print_acceptance(const slip_report *report, FILE *out)
{
    const slip_acceptance *a = &report->acceptance;
    int most = SLIP_MAX_BLOCK;
    if (a->steps == 0) {
        fprintf(out, "\nacceptance: nothing was drafted\n");
        return;
    }
    while (most > 1 && a->histogram[most - 1] == 0)
        most--;
    fprintf(
        out,
        "\nacceptance length  %.2f tokens a drafted block (bonus token included), %lld blocks\n  %.1f rows verified a sequence, %.1f %% "
        "of the steps drafted\n  accepted drafts  blocks\n",
        slip_acceptance_mean(a), (long long)a->steps, slip_report_rows_per_sequence(report), 100 * slip_report_drafted_share(report));
    for (int j = 0; j < most; j++)
        fprintf(out, "  %15d  %6lld  %5.1f %%\n", j, (long long)a->histogram[j], 100.0 * (double)a->histogram[j] / (double)a->steps);
}

static void print_slowest(const slip_report *report, FILE *out)
{
    if (!report->slowest[0])
        return;
    fprintf(out, "\nslowest requests\n   seconds  first token, ms  prompt  answer  acceptance  run  custom_id\n");
    for (int i = 0; i < SLIP_REPORT_SLOWEST && report->slowest[i]; i++) {
        const slip_trace_request *r = report->slowest[i];
        double length = r->spec_steps > 0 ? 1 + (double)r->accepted_draft_tokens / (double)r->spec_steps : 1;
        fprintf(out, "  %8.2f  %15.1f  %6d  %6d  %10.2f  %3d  %s\n", 1e-3 * r->total_ms, r->time_to_first_token_ms, r->prompt_tokens,
                r->completion_tokens, length, r->run, r->custom_id);
    }
}

static void print_experts(const slip_trace_data *data, const slip_report *report, FILE *out)
{
    if (!data->picks) {
        fprintf(out, "\nexpert load: not counted on this device\n");
        return;
    }
    fprintf(out, "\nexpert load, %d experts: rows that picked an expert\n  layer      mean       max  max/mean  idle experts\n",
            data->experts);
    for (int32_t i = 0; i < data->layer_count; i++) {
        const slip_report_layer *layer = &report->layers[i];
        fprintf(out, "  %5d  %8.0f  %8.0f  %8.2f  %12d\n", layer->layer, layer->mean, layer->max,
                layer->mean > 0 ? layer->max / layer->mean : 0, layer->idle);
    }
}

void slip_report_print(const slip_trace_data *data, const slip_report *report, FILE *out)
{
    const slip_trace_run *last = &data->runs[data->run_count - 1];
    fprintf(out, "%s, slipstream %s (%s), %s, %d rank%s on %s\n", last->model, last->version, last->commit, last->device, last->ranks,
            last->ranks == 1 ? "" : "s", last->hosts);
    fprintf(out, "%s\n\n", last->argv);
    print_runs(data, report, out);
    fprintf(out,
            "\nall runs: %lld tokens in %.2f s of decoding: %.1f tokens/s; %lld requests answered, %lld refused, %lld failed, %lld left\n",
            (long long)report->tokens, report->seconds, slip_report_tokens_per_second(report), (long long)report->answered,
            (long long)report->refused, (long long)(report->failed - report->refused), (long long)report->unfinished);
    print_times(report, out);
    print_acceptance(report, out);
    print_slowest(report, out);
    print_experts(data, report, out);
}
