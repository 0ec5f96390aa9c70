/* How often each name has been seen: a hash table that grows and keeps 128-bit hashes, not names.
 *
 * A million names take 64 MB at most. Two names with one hash would count as one: at a million names the odds are 1e-27.
 */
#ifndef SLIP_IO_BASE_TABLE_TALLY_H
#define SLIP_IO_BASE_TABLE_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "io/base/hash/hash.h"
#include "io/base/status.h"

typedef struct {
    slip_hash128 hash;
    uint64_t count; /* 0: an empty slot */
} slip_tally_slot;

/* Zero it to start. */
typedef struct {
    slip_tally_slot *slots; /* [capacity], a power of two, at most half of them in use */
    size_t capacity, used;
} slip_tally;

/* Count a name once more; *before is how often it was there. SLIP_ERR_FAILED: out of memory. */
slip_status slip_tally_add(slip_tally *tally, slip_hash128 name, uint64_t *before);

/* How often the name was added. */
uint64_t slip_tally_count(const slip_tally *tally, slip_hash128 name);

void slip_tally_free(slip_tally *tally);

#endif
