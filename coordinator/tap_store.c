#include "coordinator/tap_store.h"

#include <stdlib.h>
#include <string.h>

/* Positions [first, first + count) of a sequence; position p lies in row p % rows. */
typedef struct {
    int64_t first, count;
} kept;

struct slip_tap_store {
    int64_t rows, width;
    kept *sequences;
    float *taps; /* [sequences, rows, width]; NULL at width 0 */
};

slip_status slip_tap_store_create(int32_t sequences, int64_t rows, int64_t width, slip_tap_store **out)
{
    slip_tap_store *store = calloc(1, sizeof *store);
    if (!store)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    store->rows = rows;
    store->width = width;
    store->sequences = calloc((size_t)sequences, sizeof *store->sequences);
    if (width > 0)
        store->taps = malloc((size_t)(sequences * rows * width) * sizeof *store->taps);
    if (!store->sequences || (width > 0 && !store->taps)) {
        slip_tap_store_free(store);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for the taps of %d sequences", sequences);
    }
    *out = store;
    return SLIP_OK;
}

void slip_tap_store_free(slip_tap_store *store)
{
    free(store->sequences);
    free(store->taps);
    free(store);
}

/* NULL at width 0. */
static float *row_of(const slip_tap_store *store, int32_t sequence, int64_t position)
{
    if (!store->taps)
        return NULL;
    return store->taps + (sequence * store->rows + position % store->rows) * store->width;
}

void slip_tap_store_keep(slip_tap_store *store, int32_t sequence, int64_t position, const float *taps)
{
    kept *k = &store->sequences[sequence];
    if (position != k->first + k->count)
        *k = (kept){.first = position};
    if (store->taps)
        memcpy(row_of(store, sequence, position), taps, (size_t)store->width * sizeof *taps);
    k->count++;
    if (k->count > store->rows) {
        k->first++;
        k->count--;
    }
}

slip_status slip_tap_store_inject(slip_tap_store *store, int32_t sequence, slip_draft *draft)
{
    kept *k = &store->sequences[sequence];
    slip_status status = SLIP_OK;
    for (; k->count > 0 && status == SLIP_OK; k->first++, k->count--)
        status = slip_draft_inject(draft, sequence, k->first, row_of(store, sequence, k->first));
    return status;
}
