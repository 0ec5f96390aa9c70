/* What a batch run owns, shared by its files:
 *   prepare.c  before decoding: requests, results and the hash of the run
 *   batch.c    decoding, signals and the end
 */
#ifndef SLIP_JOBS_BATCH_STATE_H
#define SLIP_JOBS_BATCH_STATE_H

#include "coordinator/serve/task.h"
#include "io/openai/result/result.h"
#include "io/report/progress.h"
#include "jobs/job.h"
#include "jobs/record/record.h"

typedef struct {
    slip_job *job;
    char *models; /* the names that requests may call the model by */
    slip_request_file *requests;
    slip_results *results;
    slip_record record;
    slip_serve *serve;
    slip_task *current;     /* whose choices are being submitted; NULL: the next line is to be read */
    bool read_all;          /* the file has no more requests */
    int64_t context, limit; /* positions of the longest request, by its bytes; those a request may ask for */
    int64_t open;           /* requests in flight */
    int64_t left;           /* requests that a signal kept from running */
    int signal, signalled;  /* the signal that asked to drain, 0: none; the rank that was sent it */
    double drained_s;       /* when it was heard */
    slip_progress progress;
    slip_progress_counts counts;
} batch;

/* No file has two uses, before any is claimed or read. */
slip_status slip_batch_check_files(const slip_options *options);

/* On rank 0: open the requests, the results and the trace. */
slip_status slip_batch_prepare(batch *b);

/* On rank 0, of a job that was checked: what slip_batch_prepare() would find wrong with the requests and where results go. Standard input is
 * left for the run, and nothing is written. */
slip_status slip_batch_look(batch *b);

#endif
