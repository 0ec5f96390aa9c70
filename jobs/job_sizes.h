/* How a model is spread over the ranks, and how much is decoded at once. Private to jobs/job*.c. */
#ifndef SLIP_JOBS_JOB_SIZES_H
#define SLIP_JOBS_JOB_SIZES_H

#include "jobs/job.h"

/* Pieces that the target is cut into. */
int32_t slip_job_shards(const slip_job *job);

/* Ranks that share an expert. */
int32_t slip_job_slices(const slip_job *job);

/* Is there a draft, and is it cut over all ranks? */
bool slip_job_drafts(const slip_job *job);
bool slip_job_cuts_draft(const slip_job *job);

/* What rank 0 decides, and tells the others. */
typedef struct {
    int32_t sequences; /* 0: as many as memory carries */
    int64_t context;   /* of the longest sequence */
    int64_t kv_tokens; /* of all sequences; 0: as many as they can use */
    int32_t chunk;     /* prompt tokens in one step */
} slip_job_sizes;

slip_decoder_options slip_job_decoding(const slip_job *job, const slip_job_sizes *sizes);

/* On rank 0: settle how wide steps of prompts are and, of a batch, whose requests can wait for each other, what is 0, by the memory there is;
 * and say so. */
void slip_job_settle_sizes(const slip_job *job, slip_job_sizes *sizes);

/* What will be allocated, before anything large is. */
void slip_job_print_estimate(const slip_job *job);

#endif
