#include "coordinator/tap_store.h"

#include <stdlib.h>

/* Positions [first, first + count) of a sequence. */
typedef struct {
    int64_t first, count;
} kept;

struct slip_tap_store {
    int64_t rows;
    kept sequences[];
};

slip_status slip_tap_store_create(int32_t sequences, int64_t rows, slip_tap_store **out)
{
    slip_tap_store *store = calloc(1, sizeof *store + (size_t)sequences * sizeof(kept));
    if (!store)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    store->rows = rows;
    *out = store;
    return SLIP_OK;
}

void slip_tap_store_free(slip_tap_store *store)
{
    free(store);
}

void slip_tap_store_keep(slip_tap_store *store, int32_t sequence, int64_t position)
{
    kept *k = &store->sequences[sequence];
    if (position != k->first + k->count)
        *k = (kept){.first = position};
    k->count++;
    if (k->count > store->rows) {
        k->first++;
        k->count--;
    }
}

slip_status slip_tap_store_inject(slip_tap_store *store, int32_t sequence, int64_t base, slip_draft *draft)
{
    kept *k = &store->sequences[sequence];
    slip_status status = SLIP_OK;
    for (; k->count > 0 && status == SLIP_OK; k->first++, k->count--)
        status = slip_draft_inject(draft, sequence, base, k->first);
    return status;
}
