#include "io/base/table/repeats.h"

#include <stdlib.h>
#include <string.h>

enum { BITS_LOG2 = 26, PROBES = 4, BYTES = 1 << (BITS_LOG2 - 3) };

/* Are all of the name's bits set? Each probe takes bits of its own from the hash. `set`: they are from now on. */
static bool probe(unsigned char *bits, slip_hash128 name, bool set)
{
    bool all = true;
    for (int i = 0; i < PROBES; i++, name >>= BITS_LOG2) {
        size_t at = (size_t)name & (((size_t)1 << BITS_LOG2) - 1);
        unsigned char bit = (unsigned char)(1 << (at & 7));
        all &= (bits[at >> 3] & bit) != 0;
        if (set)
            bits[at >> 3] |= bit;
    }
    return all;
}

static slip_status make_room(slip_repeats *repeats)
{
    if (repeats->first == NULL)
        repeats->first = calloc(BYTES, 1);
    if (repeats->second == NULL)
        repeats->second = calloc(BYTES, 1);
    return repeats->first != NULL && repeats->second != NULL ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory for a table of names");
}

slip_status slip_repeats_add(slip_repeats *repeats, slip_hash128 name, bool keep)
{
    uint64_t before;
    slip_status status = make_room(repeats);
    if (status == SLIP_OK && (probe(repeats->first, name, true) || keep))
        status = slip_tally_add(&repeats->repeated, name, &before);
    return status;
}

slip_status slip_repeats_next(slip_repeats *repeats, slip_hash128 name, uint64_t *before, bool *same)
{
    bool repeated = slip_repeats_has(repeats, name);
    slip_status status = make_room(repeats);
    *before = 0;
    if (status != SLIP_OK)
        return status;
    *same = probe(repeats->first, name, false) && (!probe(repeats->second, name, true) || repeated);
    return repeated ? slip_tally_add(&repeats->seen, name, before) : SLIP_OK;
}

void slip_repeats_rewind(slip_repeats *repeats)
{
    slip_tally_free(&repeats->seen);
    if (repeats->second != NULL)
        memset(repeats->second, 0, BYTES);
}

bool slip_repeats_has(const slip_repeats *repeats, slip_hash128 name)
{
    return slip_tally_count(&repeats->repeated, name) > 0;
}

void slip_repeats_free(slip_repeats *repeats)
{
    free(repeats->first);
    free(repeats->second);
    slip_tally_free(&repeats->repeated);
    slip_tally_free(&repeats->seen);
}
