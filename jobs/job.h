/* What generate, batch, bench and score have in common: a checkpoint on all ranks, executors, a decoder on rank 0.
 *
 * All ranks call slip_job_open() and slip_job_start() in lockstep; a fault there is agreed upon and everybody returns it. From
 * then on rank 0 decodes and the others serve; a fault on one of them is fatal to the job (main() aborts it).
 */
#ifndef SLIP_JOBS_JOB_H
#define SLIP_JOBS_JOB_H

#include "coordinator/decoder.h"
#include "coordinator/serve/serve.h"
#include "io/text/tokenizer.h"
#include "io/report/output.h"
#include "io/report/progress.h"
#include "io/report/trace_ops.h"
#include "jobs/options/commands.h"

enum { SLIP_JOB_OUTPUTS = 6 };

typedef struct slip_job {
    slip_comm *comm;             /* borrowed */
    const slip_options *options; /* borrowed */
    int argc;
    char **argv;
    const slip_executor_kind *kind; /* what computes, the same on all ranks */
    slip_source source;
    char shape_name[64];       /* with --shape: what stands for the model in the figures */
    slip_tokenizer *tokenizer; /* rank 0; NULL when the checkpoint has none */
    slip_rank *rank;
    slip_draft *draft;                      /* rank 0 with a drafter that is not switched off */
    slip_decoder *decoder;                  /* rank 0 */
    slip_trace_ops *trace_ops;              /* rank 0 with --trace-ops */
    slip_output *outputs[SLIP_JOB_OUTPUTS]; /* rank 0: files to write beside the answers */
    slip_progress work;                     /* rank 0: reading and loading */
    slip_limits limits;
    double started_s;                     /* when the command began */
    int64_t requests, failed, unfinished; /* rank 0, for the report: the command counts them */
    int64_t *peak_bytes;                  /* rank 0, [ranks], once the others have ended: see slip_run_facts */
    bool running;                         /* the ranks are no longer in lockstep */
} slip_job;

/* Choose the device, open the checkpoint everywhere (with --shape: make its model) and parse the tokenizer on rank 0. */
slip_status slip_job_open(slip_job *job);

/* What slip_job_open() finds wrong, but for the machine: the device, the number of ranks, who else writes to the outputs. For --dry-run. */
slip_status slip_job_check(slip_job *job);

/* Rank 0, or the one shard that runs, has embeddings of the ids below this. Other ids are rows of zeros where peers are absent. */
int32_t slip_job_embedded_ids(const slip_job *job);

/* Positions a sequence may have: --context, else `wanted` (0: no wish), never beyond the model's. */
int64_t slip_job_context(const slip_job *job, int64_t wanted);

/* How to sample where nobody says: the options, then what the model asks for, then the options' defaults. */
slip_sampling slip_job_sampling(const slip_job *job);

/* Load and make ready. Only rank 0's arguments count: how many sequences (0, of a batch: as many as memory carries) of how many positions at
 * most; `mine` is rank 0's status so far (a bad prompt, say). Rank 0 returns with a decoder; the others serve until the end and return then. */
slip_status slip_job_start(slip_job *job, slip_status mine, int32_t sequences, int64_t context, slip_trace *trace);

/* Rank 0, between two steps: SLIP_ERR_INTERRUPTED if a signal has asked this or another rank to end. For commands that cannot go on later. */
slip_status slip_job_heed_signals(const slip_job *job);

/* Rank 0: step until nobody is served any more, or a signal asks to end. */
slip_status slip_job_drive(const slip_job *job, slip_serve *serve);

/* Rank 0, whose work ended with `done`: release the others unless it failed; --trace-ops is whole. Returns the first fault. */
slip_status slip_job_end(slip_job *job, slip_status done);

/* Keep the files that were written, or remove what there is of them. Before a fatal end, too. */
void slip_job_settle_outputs(slip_job *job, slip_status status);

void slip_job_close(slip_job *job);

/* Encode a text for the model; SLIP_ERR_INPUT without a tokenizer or for an empty text. The caller frees *ids. */
slip_status slip_job_encode(const slip_job *job, const char *text, size_t size, int special, int32_t **ids, size_t *count);

/* Say where the model's own sampling is used: a user who did not ask for it should know. */
void slip_job_print_sampling(const slip_job *job);

/* What a report says of the run; strings are the job's. */
enum { SLIP_EMULATED_SIZE = 48 };
slip_run_facts slip_job_facts(const slip_job *job, char emulated[SLIP_FACTS_EMULATED][SLIP_EMULATED_SIZE]);

/* GB/s at which rank 0's device reads memory. */
double slip_job_stream_ceiling(const slip_job *job);

/* Figures to standard error and, with --json, as one object to standard output. The text to go with the object may be NULL. */
slip_status slip_job_report(slip_job *job, const char *text, size_t text_size);

/* batch --dry-run; all ranks call it. */
slip_status slip_batch_check(slip_job *job);

/* By every rank at its end. On rank 0 `bytes` [ranks] gets the most memory that each rank's process has held; elsewhere it may be NULL. */
slip_status slip_peak_memory(slip_comm *comm, int64_t *bytes);

#endif
