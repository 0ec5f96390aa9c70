/* --metrics: the state of a run as a file for node_exporter's textfile collector (Prometheus' text format), replaced as a whole every few
 * seconds. docs/figures.md lists the names.
 */
#ifndef SLIP_IO_REPORT_METRICS_FILE_H
#define SLIP_IO_REPORT_METRICS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"

/* Quantiles are over the last SLIP_TIMES of each kind (coordinator/metrics.h). */
typedef struct {
    double median, p99, sum; /* seconds */
    int64_t count;
} slip_metrics_times;

typedef struct {
    const char *device, *model;
    int ranks;
    double started_unix;
    bool running;
    int64_t requests;                  /* of the input */
    int64_t answered, refused, failed; /* of all runs that --resume went on with */
    int64_t in_flight;
    int64_t tokens, prompt_tokens; /* of this run, as all below */
    double tokens_per_second;
    double acceptance_length; /* NaN: nothing was drafted yet */
    int64_t spec_steps, draft_tokens, accepted_draft_tokens;
    slip_metrics_times step, first_token;
    double eta_seconds; /* NaN: unknown */
} slip_metrics_state;

/* Replace `path`: its readers see the old file or the new one, never a part. The new one is written to PATH.tmp first. */
slip_status slip_metrics_file_write(const char *path, const slip_metrics_state *state);

/* Does an earlier run's file stand there, which may be replaced? */
bool slip_metrics_file_is(const char *path);

#endif
