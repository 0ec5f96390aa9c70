/* A rank at work: its share of the target, of the draft where it has one, and what all ranks do together.
 *
 * Rank 0 leads: the decoder begins runs of the target and the draft (ranks/runner.h). Every other rank sits in slip_rank_serve() until rank 0
 * calls slip_rank_end().
 */
#ifndef SLIP_RANKS_RANK_H
#define SLIP_RANKS_RANK_H

#include "ranks/model/placement.h"
#include "ranks/runner.h"

typedef struct {
    const slip_executor_kind *kind;
    int32_t slices;   /* ranks that share an expert, see slip_plan_slices() */
    int32_t shard_of; /* benchmarks: this rank alone holds shard 0 of so many; 0 = a shard a rank */
    slip_executor_options executor;
    slip_limits limits;
} slip_rank_options;

typedef struct slip_rank slip_rank;

/* Lockstep on all ranks: place, build the target's program, load the shard. `comm` and `source` are borrowed. */
slip_status slip_rank_create(slip_comm *comm, const slip_source *source, const slip_rank_options *options, slip_rank **rank);
void slip_rank_free(slip_rank *rank);

/* Load the draft: with `cut` a share of it on every rank, in lockstep, else all of it on rank 0, which alone calls. `options` are those of its
 * executor; the target is filled in. */
slip_status slip_rank_load_draft(slip_rank *rank, bool cut, const slip_executor_options *options);

slip_runner *slip_rank_target(const slip_rank *rank);
slip_runner *slip_rank_draft(const slip_rank *rank); /* NULL: this rank has none */

const slip_source *slip_rank_source(const slip_rank *rank);
const slip_limits *slip_rank_limits(const slip_rank *rank);
const slip_placement *slip_rank_placement(const slip_rank *rank);

/* Other ranks: do as rank 0 says until the end. */
slip_status slip_rank_serve(slip_rank *rank);

/* Rank 0: there is nothing to decode for now. To be called again and again while that lasts, every second, say: when the others have not
 * heard of us for a minute (the idle deadline / 60) they are told that we are here, and answer, and all devices may rest. */
slip_status slip_rank_idle(slip_rank *rank);

/* Rank 0: the signal that asks to end early, 0: none; *from is the rank that was sent it. Others tell with their next step. */
int slip_rank_signal(const slip_rank *rank, int *from);

/* Rank 0: no more runs. */
slip_status slip_rank_end(slip_rank *rank);

#endif
