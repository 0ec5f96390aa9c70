/* Which committed positions have not been injected yet. Their taps are with the target.
 *
 * Context is worth computing only for a block that will be drafted: while drafting does not pay, positions gather here, and what falls out of
 * the draft's window before it is needed is never turned into context at all.
 */
#ifndef SLIP_COORDINATOR_TAP_STORE_H
#define SLIP_COORDINATOR_TAP_STORE_H

#include "coordinator/draft.h"

typedef struct slip_tap_store slip_tap_store;

/* The last `rows` positions (at least the draft's window) of each of `sequences` sequences. */
slip_status slip_tap_store_create(int32_t sequences, int64_t rows, slip_tap_store **store);
void slip_tap_store_free(slip_tap_store *store);

/* One more committed position. Positions of a sequence come in order; a jump starts anew. */
void slip_tap_store_keep(slip_tap_store *store, int32_t sequence, int64_t position);

/* Give what is kept of a sequence, whose extent of K/V begins at `base`, to the draft (slip_draft_inject) and forget it. */
slip_status slip_tap_store_inject(slip_tap_store *store, int32_t sequence, int64_t base, slip_draft *draft);

#endif
