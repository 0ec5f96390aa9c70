/* What comes of a run, on its way from every rank to rank 0: candidates, histograms, what logprobs need, or whole rows of logits; rank 0
 * merges. All of it is there by the end of alloc().
 */
#ifndef SLIP_RANKS_RESULTS_H
#define SLIP_RANKS_RESULTS_H

#include "comm/comm.h"
#include "kernels/executor.h"

typedef struct {
    const slip_executor_kind *kind;
    slip_executor *executor; /* borrowed */
    slip_comm *comm;         /* borrowed; NULL: this rank is alone with the program */
    int32_t vocabulary;      /* of the model */
    int32_t shards;          /* that it is cut into */
    bool draft;              /* candidates are all that anybody wants */
    bool walks;              /* a draft's, whose program has an in-block head */

    slip_candidate *candidates;  /* [logit_rows][row_candidates()] ours, and on rank 0 the best */
    slip_candidate *received;    /* rank 0: the same of one other rank */
    slip_candidate *drafts;      /* rank 0: [logit_rows], from a walk; else NULL */
    const slip_candidate *best;  /* rank 0: [logit_rows] of the last run that was finished */
    float *logits;               /* rank 0: [logit_rows, vocabulary] */
    float *share;                /* [logit_rows, most vocabulary rows of a rank]: logits as they travel */
    slip_histogram *histograms;  /* [logit_rows] of all ranks, on rank 0; as they travel, on the others; NULL on a rank that is alone */
    slip_histogram *arrived;     /* rank 0: [logit_rows] of one other rank, as they travel; NULL on a rank that is alone */
    const slip_histogram *whole; /* rank 0: [logit_rows] of all ranks: the above, or the executor's own */
    slip_likeliest *likeliest;   /* as histograms, and those that arrive as they travel */
    slip_likeliest *arrived_likeliest;
} slip_results;

/* Room for `logit_rows` rows; what stands above the first empty line is filled in, but for the executor. */
slip_status slip_results_alloc(slip_results *results, int32_t logit_rows);
void slip_results_free(slip_results *results);

/* The device's candidates are all ranks' already. */
bool slip_results_collected(const slip_results *results, const slip_step *step);

/* Other ranks: to rank 0. */
slip_status slip_results_send(slip_results *results, const slip_step *step);

/* Rank 0: our own. */
void slip_results_take(slip_results *results, const slip_step *step);

/* Rank 0, behind that: another rank's. */
slip_status slip_results_collect(slip_results *results, const slip_step *step, int from, const char *what);

/* Rank 0, behind all of that. */
slip_status slip_results_finish(slip_results *results, const slip_step *step);

#endif
