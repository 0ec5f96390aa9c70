#include "jobs/report/figures.h"

#include <math.h>
#include <stdlib.h>

/* ---- quantiles ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* As the run's own figures take them (coordinator/metrics.c): the nearest value. Sorts. */
static slip_report_quantiles quantiles(double *values, size_t count)
{
    if (count == 0)
        return (slip_report_quantiles){NAN, NAN, 0};
    qsort(values, count, sizeof *values, by_value);
    return (slip_report_quantiles){
        .median = values[(size_t)(0.5 * (double)(count - 1) + 0.5)],
        .p99 = values[(size_t)(0.99 * (double)(count - 1) + 0.5)],
        .count = (int64_t)count,
    };
}

typedef double (*step_part)(const slip_trace_step *step);

static double step_ms(const slip_trace_step *step)
{
    return step->step_ms;
}

static double draft_ms(const slip_trace_step *step)
{
    return step->drafted ? step->draft_ms : NAN;
}

static double verify_ms(const slip_trace_step *step)
{
    return step->verify_ms;
}

static double commit_ms(const slip_trace_step *step)
{
    return step->commit_ms;
}

/* Over the steps that only verify. `scratch` has room for all steps. */
static slip_report_quantiles step_quantiles(const slip_trace_data *data, step_part part, double *scratch)
{
    size_t count = 0;
    for (int64_t i = 0; i < data->step_count; i++) {
        double value = part(&data->steps[i]);
        if (data->steps[i].prompt_rows == 0 && isfinite(value))
            scratch[count++] = value;
    }
    return quantiles(scratch, count);
}

/* ---- runs and time ---- */

static bool is_timed(const slip_trace_step *step)
{
    return isfinite(step->seconds) && isfinite(step->step_ms) && step->seconds >= 0 && step->step_ms >= 0;
}

static void add_steps(const slip_trace_data *data, slip_report *report)
{
    for (int64_t i = 0; i < data->step_count; i++) {
        const slip_trace_step *step = &data->steps[i];
        slip_report_run *run = &report->runs[step->run - 1];
        if (!is_timed(step))
            continue;
        double began = step->seconds - 1e-3 * step->step_ms;
        if (run->steps++ == 0)
            run->first_s = began;
        run->last_s = fmax(run->last_s, step->seconds);
        run->tokens += step->tokens;
        report->prompt_steps += step->prompt_rows > 0;
        report->plain_steps += step->prompt_rows == 0 && !step->drafted;
    }
}

static void add_runs(const slip_trace_data *data, slip_report *report)
{
    for (int64_t i = 0; i < data->run_count; i++) {
        slip_report_run *run = &report->runs[i];
        run->offset_s = report->seconds;
        report->seconds += fmax(0, run->last_s - run->first_s);
        report->tokens += run->tokens;
    }
    const slip_trace_run *last = &data->runs[data->run_count - 1];
    report->unfinished = last->requests > last->finished ? last->requests - last->finished : 0;
}

/* The piece of time that a moment of a run lies in; NULL: in none. */
static slip_report_bin *bin_of(slip_report *report, int32_t run, double seconds)
{
    const slip_report_run *r = &report->runs[run - 1];
    double at = r->offset_s + seconds - r->first_s;
    if (!(at >= 0) || !(report->bin_seconds > 0))
        return NULL;
    double bin = at / report->bin_seconds;
    return &report->bins[bin < SLIP_REPORT_BINS ? (int)bin : SLIP_REPORT_BINS - 1];
}

static void fill_bins(const slip_trace_data *data, slip_report *report)
{
    report->bin_seconds = report->seconds / SLIP_REPORT_BINS;
    int64_t block = 0;
    for (int64_t i = 0; i < data->step_count; i++) {
        const slip_trace_step *step = &data->steps[i];
        slip_report_bin *bin = is_timed(step) ? bin_of(report, step->run, step->seconds) : NULL;
        if (!bin)
            continue;
        bin->steps++;
        bin->tokens += step->tokens;
        bin->draft_ms += step->draft_ms;
        bin->verify_ms += step->verify_ms;
        bin->commit_ms += step->commit_ms;
        /* Blocks stand in the order of their steps. */
        for (; block < data->block_count; block++) {
            const slip_trace_block *b = &data->blocks[block];
            if (b->run > step->run || (b->run == step->run && b->step > step->step))
                break;
            bin->blocks += b->drafts > 0;
            bin->accepted += b->drafts > 0 ? b->accepted : 0;
        }
    }
}

/* Is the block of a step that reads no prompt? Blocks stand in the order of their steps; *step is the first that may be the next block's. */
static bool only_verifies(const slip_trace_data *data, const slip_trace_block *block, int64_t *step)
{
    for (; *step < data->step_count; ++*step) {
        const slip_trace_step *s = &data->steps[*step];
        if (s->run == block->run && s->step == block->step)
            return s->prompt_rows == 0;
        if (s->run > block->run || (s->run == block->run && s->step > block->step))
            return false;
    }
    return false;
}

static void add_blocks(const slip_trace_data *data, slip_report *report)
{
    int64_t step = 0;
    for (int64_t i = 0; i < data->block_count; i++) {
        const slip_trace_block *block = &data->blocks[i];
        if (block->drafts < 0 || block->drafts >= SLIP_MAX_BLOCK)
            continue;
        if (only_verifies(data, block, &step)) {
            report->verified_blocks++;
            report->verified_rows += 1 + block->drafts;
        }
        if (block->drafts > 0 && block->accepted >= 0 && block->accepted < SLIP_MAX_BLOCK)
            slip_acceptance_count(&report->acceptance, block->drafts, block->accepted);
    }
}

/* ---- requests ---- */

slip_status slip_report_first_tokens(const slip_trace_data *data, double **values, size_t *count)
{
    *count = 0;
    *values = malloc(((size_t)data->request_count + 1) * sizeof **values);
    if (!*values)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (int64_t i = 0; i < data->request_count; i++)
        if (data->requests[i].status == 200 && data->requests[i].time_to_first_token_ms > 0 &&
            isfinite(data->requests[i].time_to_first_token_ms))
            (*values)[(*count)++] = data->requests[i].time_to_first_token_ms;
    return SLIP_OK;
}

/* Keep the slowest in descending order. */
static void rank_slowest(slip_report *report, const slip_trace_request *request)
{
    int at = SLIP_REPORT_SLOWEST;
    while (at > 0 && (!report->slowest[at - 1] || report->slowest[at - 1]->total_ms < request->total_ms)) {
        at--;
        if (at + 1 < SLIP_REPORT_SLOWEST)
            report->slowest[at + 1] = report->slowest[at];
    }
    if (at < SLIP_REPORT_SLOWEST)
        report->slowest[at] = request;
}

static void add_requests(const slip_trace_data *data, slip_report *report, double *scratch)
{
    size_t count = 0;
    for (int64_t i = 0; i < data->request_count; i++) {
        const slip_trace_request *request = &data->requests[i];
        slip_report_run *run = &report->runs[request->run - 1];
        run->answered += request->status == 200 && request->choice == 0;
        run->refused += request->status >= 400 && request->status < 500;
        run->failed += request->status >= 400;
        if (request->status != 200 || !isfinite(request->total_ms))
            continue;
        scratch[count++] = request->total_ms;
        rank_slowest(report, request);
    }
    report->total = quantiles(scratch, count);
    for (int64_t i = 0; i < data->run_count; i++) {
        report->answered += report->runs[i].answered;
        report->refused += report->runs[i].refused;
        report->failed += report->runs[i].failed;
    }
}

/* ---- experts ---- */

static void add_layers(const slip_trace_data *data, slip_report *report)
{
    for (int32_t i = 0; i < data->layer_count; i++) {
        slip_report_layer *layer = &report->layers[i];
        layer->layer = data->layers[i];
        for (int32_t e = 0; e < data->experts; e++) {
            double picks = (double)data->picks[(int64_t)i * data->experts + e];
            layer->mean += picks / data->experts;
            layer->max = fmax(layer->max, picks);
            layer->idle += picks == 0;
        }
    }
}

/* ---- all of it ---- */

slip_status slip_report_make(const slip_trace_data *data, slip_report *report)
{
    int64_t most = data->step_count > data->request_count ? data->step_count : data->request_count;
    double *scratch = malloc(((size_t)most + 1) * sizeof *scratch), *first = NULL;
    size_t count = 0;
    *report = (slip_report){
        .runs = calloc((size_t)data->run_count, sizeof *report->runs),
        .layers = calloc((size_t)data->layer_count + 1, sizeof *report->layers),
    };
    slip_status status = scratch && report->runs && report->layers ? slip_report_first_tokens(data, &first, &count)
                                                                   : slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK) {
        add_steps(data, report);
        add_runs(data, report);
        fill_bins(data, report);
        add_blocks(data, report);
        add_requests(data, report, scratch);
        add_layers(data, report);
        report->first_token = quantiles(first, count);
        report->step = step_quantiles(data, step_ms, scratch);
        report->draft = step_quantiles(data, draft_ms, scratch);
        report->verify = step_quantiles(data, verify_ms, scratch);
        report->commit = step_quantiles(data, commit_ms, scratch);
    } else {
        slip_report_free(report);
    }
    free(scratch);
    free(first);
    return status;
}

void slip_report_free(slip_report *report)
{
    free(report->runs);
    free(report->layers);
    *report = (slip_report){0};
}

double slip_report_tokens_per_second(const slip_report *report)
{
    return report->seconds > 0 ? (double)report->tokens / report->seconds : 0;
}

double slip_report_rows_per_sequence(const slip_report *report)
{
    return report->verified_blocks > 0 ? (double)report->verified_rows / (double)report->verified_blocks : NAN;
}

double slip_report_drafted_share(const slip_report *report)
{
    return report->step.count > 0 ? 1 - (double)report->plain_steps / (double)report->step.count : NAN;
}

double slip_report_run_rate(const slip_report_run *run)
{
    return run->last_s > run->first_s ? (double)run->tokens / (run->last_s - run->first_s) : 0;
}
