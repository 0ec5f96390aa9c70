/* Taps of committed tokens, kept until the draft needs them.
 *
 * Context is worth computing only for a block that will be drafted: while drafting does not pay, taps gather here, and what
 * falls out of the draft's window before it is needed is never turned into context at all.
 */
#ifndef SLIP_COORDINATOR_TAP_STORE_H
#define SLIP_COORDINATOR_TAP_STORE_H

#include "coordinator/draft.h"

typedef struct slip_tap_store slip_tap_store;

/* Room for `rows` positions (at least the draft's window) of `width` floats for each of `sequences` sequences. Width 0: the taps
 * are resident with the device, and only which positions wait is kept. */
slip_status slip_tap_store_create(int32_t sequences, int64_t rows, int64_t width, slip_tap_store **store);
void slip_tap_store_free(slip_tap_store *store);

/* Keep the taps of one committed position, NULL at width 0. Positions of a sequence come in order; a jump starts anew. */
void slip_tap_store_keep(slip_tap_store *store, int32_t sequence, int64_t position, const float *taps);

/* Give what is kept of a sequence to the draft (slip_draft_inject) and forget it. */
slip_status slip_tap_store_inject(slip_tap_store *store, int32_t sequence, slip_draft *draft);

#endif
