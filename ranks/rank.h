/* A rank at work: its share of the target, and the step all ranks make together (design part 4, points 2 to 4).
 *
 * Rank 0 calls slip_rank_begin() and slip_rank_wait(); every other rank sits in slip_rank_serve() until rank 0 calls
 * slip_rank_end(). Rank 0 is a worker too, or, dedicated, coordinates only. Between the target's steps may lie the draft's
 * (ranks/draft_share.h).
 */
#ifndef SLIP_RANKS_RANK_H
#define SLIP_RANKS_RANK_H

#include "kernels/executor.h"
#include "ranks/draft_share.h"
#include "ranks/model/placement.h"
#include "ranks/shard.h"

typedef struct {
    const slip_executor_kind *kind;
    int32_t slices;      /* ranks that share an expert, see slip_plan_slices() */
    bool dedicated;      /* rank 0 holds no shard */
    bool taps;           /* rank 0 wants the taps of every step (a draft will run) */
    int32_t shard_of;    /* benchmarks: this rank alone holds shard 0 of so many; 0 = a shard a worker rank */
    slip_executor_options executor;
    slip_limits limits;
} slip_rank_options;

typedef struct slip_rank slip_rank;

/* Lockstep on all ranks: place, build the program, load the shard. `comm` and `source` are borrowed. */
slip_status slip_rank_create(slip_comm *comm, const slip_source *source, const slip_rank_options *options, slip_rank **rank);
void slip_rank_free(slip_rank *rank);

/* Worker ranks but 0: make steps until the end. `draft`: this rank's share of the draft, NULL where it is not cut. */
slip_status slip_rank_serve(slip_rank *rank, slip_draft_share *draft);

/* What rank 0 gets from a step. Valid until the next one. */
typedef struct {
    const slip_candidate *candidates; /* [head_count], the best over ranks (SLIP_WANT_TOKENS) */
    const float *logits;              /* [head_count, vocabulary] (SLIP_WANT_LOGITS) */
    uint64_t weight_bytes;            /* read by an average worker */
    double device_ms;                 /* our own device was at it; 0: we have none */
} slip_outcome;

/* Rank 0: post the step to all ranks and begin our share; then finish it and collect. The step must still be there for the wait, and one
 * is open at a time. */
slip_status slip_rank_begin(slip_rank *rank, const slip_step *step);
slip_status slip_rank_wait(slip_rank *rank, const slip_step *step, slip_outcome *outcome);

/* Rank 0: a step may be begun while the draft's are open, its drafts being SLIP_TOKEN_OF_HEAD: kernels/executor.h. */
bool slip_rank_queues(const slip_rank *rank);

/* Rank 0: floats of a row's taps that come to the host; 0 where they are resident or there are none. */
int64_t slip_rank_tap_width(const slip_rank *rank);

/* Rank 0: the taps of row `row` of the last step, [slip_rank_tap_width()]; NULL where that is 0. */
const float *slip_rank_taps(const slip_rank *rank, int32_t row);

/* Rank 0: no more steps. */
slip_status slip_rank_end(slip_rank *rank);

const slip_placement *slip_rank_placement(const slip_rank *rank);

/* NULL on a dedicated rank 0. The program is empty there. */
slip_executor *slip_rank_executor(const slip_rank *rank);
const slip_program *slip_rank_program(const slip_rank *rank);

#endif
