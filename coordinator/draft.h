/* The draft model as rank 0 drives it, alone or with a share on every rank: context from the target's taps, then blocks of drafts (DFlash).
 *
 * Invariant: before slip_draft_begin() for a block at position p, every committed position below p (as far back as the draft's window) has
 * been injected. Rejected rows are never injected, so nothing is rolled back.
 */
#ifndef SLIP_COORDINATOR_DRAFT_H
#define SLIP_COORDINATOR_DRAFT_H

#include "ranks/rank.h"

typedef struct slip_draft slip_draft;

/* Drives the draft that the rank has loaded (borrowed). */
slip_status slip_draft_create(slip_rank *rank, slip_draft **draft);
void slip_draft_free(slip_draft *draft);

/* Queue one committed position, whose taps the target keeps. `base`: of the sequence's extent of K/V. Positions of a sequence come in order,
 * between two flushes without a gap. Runs by itself when it is full. */
slip_status slip_draft_inject(slip_draft *draft, int32_t sequence, int64_t base, int64_t position);

/* Begin to turn what is queued into context. */
slip_status slip_draft_flush(slip_draft *draft);

/* Add a block to the next draft: `anchor` at `position` is committed but in no cache. At most limits.rows rows in all. `sampling`: of the
 * request. Its noise is added to the draft's logits as it will be to the target's, since equal noise picks equal tokens more often. */
void slip_draft_add(slip_draft *draft, int32_t sequence, int64_t base, int32_t anchor, int64_t position, const slip_sampling *sampling);

/* Begin one forward for all blocks added since the last one. At most one draft is in
 * flight, behind at most one inject. */
slip_status slip_draft_begin(slip_draft *draft);

/* May a step begin before the draft in front of it is waited for, because the device fills in the draft's tokens? Not behind a wide draft: it
 * is over when it has begun, and only the host has its tokens. */
bool slip_draft_is_queued(const slip_draft *draft);

/* What came of a draft, and of the injects since the last one. */
typedef struct {
    const slip_candidate *candidates; /* [blocks, block - 1]: for the positions behind each anchor; valid until the next draft */
    uint64_t weight_bytes;            /* that an average rank with a share read to draft */
    int32_t injected;                 /* positions that became context */
    double inject_ms, device_ms;      /* our device's time: injects, and all of it */
} slip_draft_outcome;

/* Wait for the draft that was begun. */
slip_status slip_draft_wait(slip_draft *draft, slip_draft_outcome *outcome);

#endif
