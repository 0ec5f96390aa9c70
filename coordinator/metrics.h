/* The metrics of a run. Nothing allocates while decoding: times go into fixed rings. */
#ifndef SLIP_COORDINATOR_METRICS_H
#define SLIP_COORDINATOR_METRICS_H

#include <stdio.h>

#include "coordinator/accept.h"
#include "io/report/facts.h"
#include "io/base/clock.h"

enum { SLIP_TIMES = 1 << 15 };

/* The last SLIP_TIMES durations of a kind, milliseconds. */
typedef struct {
    float ms[SLIP_TIMES];
    int64_t count;
    double sum; /* of all of them */
} slip_times;

void slip_times_add(slip_times *times, double ms);
double slip_times_quantile(const slip_times *times, double q); /* 0 when empty */

/* Steps in which every slot verified a block and no prompt was read: the throughput of a full batch, without the beginning and the end of a
 * run. */
typedef struct {
    int32_t sequences; /* a step */
    slip_times step, verify;
    int64_t tokens; /* committed */
    double seconds; /* of whole steps, drafts included */
    double verify_seconds;
    uint64_t verify_bytes; /* of weights an average rank read while verifying */
} slip_full_steps;

typedef struct {
    slip_acceptance acceptance;
    slip_times step, draft, verify; /* of steps that only verified; draft: of those with drafts */
    slip_times first_token;
    slip_times between; /* of a sequence, from a step that brought it tokens to the next that did */
    slip_times host;    /* of a step, wall time less device time: posting, handing over from run to run, accepting */
    slip_full_steps full;
    int64_t tokens; /* committed and kept, over all requests */
    int64_t prompt_tokens;
    double prefill_seconds;                 /* of steps that read prompts, whatever else they did */
    uint64_t prefill_bytes;                 /* of weights an average rank read in them, each matrix counted once a step */
    double seconds;                         /* from the first step to the last */
    int64_t plain_steps;                    /* steps that decoded without a draft: there is none, or it did not pay */
    int64_t verified_blocks, verified_rows; /* of steps that only verified: sequences that decoded, and rows of them */
    double verify_seconds;                  /* of steps that only verified */
    uint64_t verify_bytes;                  /* of weights an average rank read in them */
    uint64_t draft_bytes;                   /* of weights an average rank with a share of the draft reads in a draft */
    double stream_ceiling;                  /* GB/s a rank, measured in this process; 0 = unknown */
} slip_metrics;

/* Lines beginning with '#': nccl-tests' manner. */
void slip_metrics_print(const slip_metrics *metrics, const slip_run_facts *facts, FILE *out);

/* Derived ones. Steps in which every slot verified: full. */
double slip_metrics_full_tokens_per_second(const slip_metrics *metrics);
double slip_metrics_full_gb_per_second(const slip_metrics *metrics);
double slip_metrics_prompt_tokens_per_second(const slip_metrics *metrics);

/* The JSON object of a run, what --json prints, and the part of it that was measured; the caller owns it. */
json_t *slip_metrics_json(const slip_metrics *metrics, const slip_run_facts *facts);
json_t *slip_metrics_measured_json(const slip_metrics *metrics);

#endif
