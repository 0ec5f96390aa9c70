/* A rank's share of the draft: all of it on rank 0, or a piece on every rank, cut as the target is (design part 4, point 1).
 *
 * Where it is cut, rank 0 calls slip_draft_share_inject() and slip_draft_share_begin(), and the others do the same step in
 * slip_draft_share_serve() (ranks/rank.c takes the messages). Where the taps come by the host they travel with the inject: rank 0 alone
 * decides what is injected, and late.
 */
#ifndef SLIP_RANKS_DRAFT_SHARE_H
#define SLIP_RANKS_DRAFT_SHARE_H

#include "kernels/executor.h"
#include "ranks/shard.h"
#include "ranks/wire.h"

typedef struct slip_draft_share slip_draft_share;

/* Build the program and load its weights. `comm` NULL: the whole draft on this rank; otherwise a share on each of its workers, rank 0
 * among them. `source` and `comm` are borrowed; `options` name the target's executor where its taps are resident. */
slip_status slip_draft_share_create(const slip_source *source, const slip_executor_kind *kind, slip_comm *comm,
                                    const slip_executor_options *options, const slip_limits *limits, slip_draft_share **share);
void slip_draft_share_free(slip_draft_share *share);

/* Rank 0: where the taps of row `row` of the next inject go, [taps * hidden]; NULL where they are resident. */
float *slip_draft_share_taps(slip_draft_share *share, int32_t row);

/* Rank 0: begin to turn taps into context. */
slip_status slip_draft_share_inject(slip_draft_share *share, const slip_step *step);

/* Rank 0: begin to draft. One draft, and before it one inject, are open at a time. */
slip_status slip_draft_share_begin(slip_draft_share *share, const slip_step *step);

/* What rank 0 gets from a draft and the injects before it, since the last draft. */
typedef struct {
    const slip_candidate *candidates; /* [head_count], the best over ranks, valid until the next step */
    uint64_t weight_bytes;            /* that an average rank read to draft */
    double inject_ms, device_ms;      /* that our device was at the injects, and at all of it */
} slip_draft_outcome;

/* Rank 0: wait for the draft that was begun. */
slip_status slip_draft_share_wait(slip_draft_share *share, const slip_step *step, slip_draft_outcome *outcome);

/* Other ranks: our part of a step that rank 0 has posted. */
slip_status slip_draft_share_serve(slip_draft_share *share, slip_order order, const slip_step *step);

const slip_program *slip_draft_share_program(const slip_draft_share *share);

#endif
