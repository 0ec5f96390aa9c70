/* Names that are read twice, in the same order: which of them come more than once, and how often each has come so far. What is kept does not
 * grow with names that come once.
 *
 * A table of bits of one size holds what has been seen; a name that finds all of its bits set may be a repeated one and goes into a tally. So
 * every repeated name is there, and of n other names some n * (4n / 2^26)^4: ten at a million names, each 64 bytes. The second reading has
 * such a table, too: it goes as the first one did, or the names have changed.
 */
#ifndef SLIP_IO_BASE_TABLE_REPEATS_H
#define SLIP_IO_BASE_TABLE_REPEATS_H

#include <stdbool.h>

#include "io/base/table/tally.h"

/* Zero it to start. */
typedef struct {
    unsigned char *first, *second; /* the bits of the two readings, 8 MiB each */
    slip_tally repeated;           /* names that may come more than once */
    slip_tally seen;               /* how often they have come in the second reading */
} slip_repeats;

/* The first reading's next name. `keep`: slip_repeats_has() is to know it. SLIP_ERR_FAILED: out of memory. */
slip_status slip_repeats_add(slip_repeats *repeats, slip_hash128 name, bool keep);

/* The second reading's next name; *before is how often it has come in it. *same is false where the names cannot be those of the first one. */
slip_status slip_repeats_next(slip_repeats *repeats, slip_hash128 name, uint64_t *before, bool *same);

/* The second reading starts anew. */
void slip_repeats_rewind(slip_repeats *repeats);

/* Has the first reading had this name, of those it was to keep? It may know others, too. */
bool slip_repeats_has(const slip_repeats *repeats, slip_hash128 name);

void slip_repeats_free(slip_repeats *repeats);

#endif
