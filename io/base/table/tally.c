#include "io/base/table/tally.h"

#include <stdlib.h>

/* The slot that holds the name, or the empty one where it belongs. FNV's low bits are its best. */
static slip_tally_slot *slot_of(const slip_tally *tally, slip_hash128 name)
{
    for (size_t i = (size_t)name & (tally->capacity - 1);; i = (i + 1) & (tally->capacity - 1))
        if (tally->slots[i].hash == name || tally->slots[i].count == 0)
            return &tally->slots[i];
}

static slip_status grow(slip_tally *tally)
{
    slip_tally wider = {.capacity = tally->capacity == 0 ? 64 : 2 * tally->capacity, .used = tally->used};
    wider.slots = calloc(wider.capacity, sizeof *wider.slots);
    if (wider.slots == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a table of %zu names", wider.capacity);
    for (size_t i = 0; i < tally->capacity; i++)
        if (tally->slots[i].count > 0)
            *slot_of(&wider, tally->slots[i].hash) = tally->slots[i];
    free(tally->slots);
    *tally = wider;
    return SLIP_OK;
}

slip_status slip_tally_add(slip_tally *tally, slip_hash128 name, uint64_t *before)
{
    if (2 * (tally->used + 1) > tally->capacity) {
        slip_status status = grow(tally);
        if (status != SLIP_OK)
            return status;
    }
    slip_tally_slot *slot = slot_of(tally, name);
    tally->used += slot->count == 0;
    slot->hash = name;
    *before = slot->count++;
    return SLIP_OK;
}

uint64_t slip_tally_count(const slip_tally *tally, slip_hash128 name)
{
    return tally->capacity == 0 ? 0 : slot_of(tally, name)->count;
}

void slip_tally_free(slip_tally *tally)
{
    free(tally->slots);
    *tally = (slip_tally){0};
}
