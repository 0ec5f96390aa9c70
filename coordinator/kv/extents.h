/* Who has which positions of the K/V arena (ranks/model/program.h): extents, dealt out first fit at admission and given back at the end.
 *
 * An extent is as long as its request may become, so nobody who was admitted ever runs out. First fit keeps the far end free for long
 * requests. Whoever finds no gap waits at the head of the queue and is overtaken by nobody (serve/serve.h): when all that run have ended
 * the arena is one gap again, so what is not longer than the arena is admitted in the end.
 */
#ifndef SLIP_COORDINATOR_KV_EXTENTS_H
#define SLIP_COORDINATOR_KV_EXTENTS_H

#include "ranks/model/program.h"

/* Plain data; {.total = positions} to start. */
typedef struct {
    int64_t total;
    int32_t count;
    slip_range taken[SLIP_MAX_SPANS]; /* [count], ascending, never empty */
} slip_extents;

/* Is there a gap of so many positions? */
bool slip_extents_fit(const slip_extents *extents, int64_t positions);

/* Take the beginning of the first gap of `positions` > 0, which must be there; returns its base. At most SLIP_MAX_SPANS are taken. */
int64_t slip_extents_take(slip_extents *extents, int64_t positions);

/* Give back the extent at `base`. */
void slip_extents_give(slip_extents *extents, int64_t base);

#endif
