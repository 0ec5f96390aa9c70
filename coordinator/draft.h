/* The draft model as rank 0 drives it, alone or with a share on every rank: context from the target's taps, then blocks of proposals
 * (DFlash).
 *
 * Invariant: before slip_draft_begin() for a block at position p, the taps of every committed position below p (as far back
 * as the draft's window) have been injected. Rejected rows are never injected, so nothing is rolled back.
 */
#ifndef SLIP_COORDINATOR_DRAFT_H
#define SLIP_COORDINATOR_DRAFT_H

#include "ranks/draft_share.h"

typedef struct slip_draft slip_draft;

/* Loads the draft, or with `comm` this rank's share of it, with the head and embedding of the target: slip_draft_share_create(). */
slip_status slip_draft_create(const slip_source *source, const slip_executor_kind *kind, slip_comm *comm,
                              const slip_executor_options *options, const slip_limits *limits, slip_draft **draft);
void slip_draft_free(slip_draft *draft);

/* Queue the taps [taps * hidden] of one committed position, NULL where they are resident. Positions of a sequence come in order,
 * between two flushes without a gap. Runs by itself when it is full. */
slip_status slip_draft_inject(slip_draft *draft, int32_t sequence, int64_t position, const float *taps);

/* Begin to turn what is queued into context. */
slip_status slip_draft_flush(slip_draft *draft);

/* Where a sequence stands: `anchor` at `position` is committed but in no cache. */
typedef struct {
    int32_t sequence;
    int32_t anchor;
    int64_t position;
    int32_t *drafts; /* out [block - 1]: proposals for position + 1, position + 2, ... */
} slip_proposal;

/* Begin one draft forward for all of them; greedy. count * block <= limits.rows. */
slip_status slip_draft_begin(slip_draft *draft, const slip_proposal *proposals, int32_t count);

/* Wait for it, and fill in the drafts of the same proposals: number j of proposal i is head row i * (block - 1) + j of the draft's step. */
slip_status slip_draft_wait(slip_draft *draft, const slip_proposal *proposals, slip_draft_outcome *outcome);

const slip_program *slip_draft_program(const slip_draft *draft);

#endif
