/* The figures of a trace. docs/figures.md says how each is derived. */
#ifndef SLIP_JOBS_REPORT_FIGURES_H
#define SLIP_JOBS_REPORT_FIGURES_H

#include "coordinator/accept.h"
#include "io/report/trace/read.h"

enum { SLIP_REPORT_SLOWEST = 10, SLIP_REPORT_BINS = 60 };

/* The quantiles of a set of values; NaN when it is empty. */
typedef struct {
    double median, p99;
    int64_t count;
} slip_report_quantiles;

typedef struct {
    int64_t steps, tokens, answered, refused, failed; /* requests that ended in this run; failed: refused ones, too */
    double first_s, last_s;                           /* when its first step began and its last one ended */
    double offset_s;                                  /* decoding time of the runs before it */
} slip_report_run;

/* A piece of the decoding time of all runs, one after the other. */
typedef struct {
    int64_t tokens, blocks, accepted, steps;
    double draft_ms, verify_ms, commit_ms; /* sums over its steps */
} slip_report_bin;

typedef struct {
    int32_t layer, idle; /* idle: experts never picked */
    double mean, max;    /* picks an expert */
} slip_report_layer;

typedef struct {
    slip_report_run *runs; /* [data->run_count] */
    int64_t tokens, answered, refused, failed, unfinished;
    double seconds; /* of decoding, over all runs */
    slip_acceptance acceptance;
    slip_report_quantiles first_token, total, step, draft, verify, commit; /* ms; steps that only verify */
    int64_t plain_steps, prompt_steps;
    int64_t verified_blocks, verified_rows;                 /* of steps that only verify: a sequence's anchor and drafts */
    const slip_trace_request *slowest[SLIP_REPORT_SLOWEST]; /* NULL behind the last one */
    slip_report_bin bins[SLIP_REPORT_BINS];
    double bin_seconds;
    slip_report_layer *layers; /* [data->layer_count] */
} slip_report;

/* Everything that follows from `data`, which must outlive the report. */
slip_status slip_report_make(const slip_trace_data *data, slip_report *report);
void slip_report_free(slip_report *report);

double slip_report_tokens_per_second(const slip_report *report);
/* Mean rows of a verified block, and the share of steps that verify drafts; NaN: there were none. */
double slip_report_rows_per_sequence(const slip_report *report);
double slip_report_drafted_share(const slip_report *report);
double slip_report_run_rate(const slip_report_run *run);

/* The values of one kind, for a plot: the caller frees *values. */
slip_status slip_report_first_tokens(const slip_trace_data *data, double **values, size_t *count);

#endif
