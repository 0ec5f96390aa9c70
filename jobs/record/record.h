/* What a batch leaves beside its answers: the trace (io/report/trace/trace.h) and the file of metrics (io/report/metrics_file.h). */
#ifndef SLIP_JOBS_RECORD_RECORD_H
#define SLIP_JOBS_RECORD_RECORD_H

#include "coordinator/decoder.h"
#include "io/openai/result/result.h"
#include "io/report/progress.h"

/* Zero it, and set what is borrowed before slip_record_begin(): how far the batch is, looked at whenever something is written. */
typedef struct {
    const slip_progress *progress;
    const slip_progress_counts *counts;
    const int64_t *in_flight; /* requests */
    const slip_metrics *figures;

    slip_trace *trace;   /* NULL: not wanted */
    const char *metrics; /* path; NULL: not wanted */
    double written;      /* when the metrics were */
    double started_unix;
    bool warned;
    uint64_t run_hash;
    slip_run_facts facts;
    int64_t answered, refused, failed; /* requests */
} slip_record;

/* Before anything is loaded: check what is there. Paths may be NULL, are claimed (io/report/output.h) and borrowed. `run_hash`: what
 * decides every answer beside the request. */
slip_status slip_record_open(slip_record *record, const char *trace, const char *metrics, uint64_t run_hash);

/* The run begins; `resumed` tells what earlier runs did. */
slip_status slip_record_begin(slip_record *record, slip_run_facts facts, const slip_rank *rank, const slip_resumed *resumed);

/* A request has ended: `answers` [slip_request_choices()], or NULL where it was refused, failed or given up. */
void slip_record_request(slip_record *record, const slip_request *request, const slip_answer *answers);

/* Behind a step: write what is due. */
slip_status slip_record_tick(slip_record *record);

/* The run's end under this status, which is returned unless writing fails: all is written. */
slip_status slip_record_end(slip_record *record, slip_status status);

/* Close what slip_record_end() was not called for. */
void slip_record_close(slip_record *record);

#endif
