/* A hash map from byte strings to numbers >= 0: open addressing, a size fixed when it is made.
 *
 * Keys are borrowed: whoever puts a key keeps its bytes alive and unchanged as long as the map.
 */
#ifndef SLIP_IO_BASE_TABLE_MAP_H
#define SLIP_IO_BASE_TABLE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"

typedef struct {
    const void *key; /* NULL: an empty slot */
    uint32_t size;
    int32_t value;
} slip_map_slot;

typedef struct {
    slip_map_slot *slots; /* [mask + 1], at most half of them in use */
    size_t mask;
} slip_map;

/* Room for `entries` keys. SLIP_ERR_FAILED: out of memory. slip_map_free() takes it back. */
slip_status slip_map_init(slip_map *map, size_t entries);
void slip_map_free(slip_map *map);

/* Set the value of a key; the caller puts no more distinct keys than slip_map_init() was told. */
void slip_map_put(slip_map *map, const void *key, uint32_t size, int32_t value);

/* The value of a key, -1 where there is none. */
int32_t slip_map_find(const slip_map *map, const void *key, uint32_t size);

#endif
