#include "io/base/table/map.h"

#include <stdlib.h>
#include <string.h>

/* Eight bytes a step through a 64 x 64 -> 128 bit multiplication: most keys are one or two steps long. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static size_t hash(const void *key, uint32_t size)
{
    const unsigned char *bytes = key;
    uint64_t state = 0x9e3779b97f4a7c15u ^ size;
    for (; size > 8; size -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        state = mix(state ^ word, 0xd6e8feb86659fd93u);
    }
    uint64_t word = 0;
    memcpy(&word, bytes, size);
    return (size_t)mix(state ^ word, 0xa0761d6478bd642fu);
}

/* The slot that holds the key, or the empty one where it belongs. */
static slip_map_slot *slot_of(const slip_map *map, const void *key, uint32_t size)
{
    for (size_t i = hash(key, size) & map->mask;; i = (i + 1) & map->mask) {
        slip_map_slot *slot = &map->slots[i];
        if (slot->key == NULL || (slot->size == size && memcmp(slot->key, key, size) == 0))
            return slot;
    }
}

slip_status slip_map_init(slip_map *map, size_t entries)
{
    size_t slots = 16;
    while (slots / 2 < entries && slots <= SIZE_MAX / 4)
        slots *= 2;
    slip_map_slot *room = calloc(slots, sizeof *room);
    if (room == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a map of %zu entries", entries);
    map->slots = room;
    map->mask = slots - 1;
    return SLIP_OK;
}

void slip_map_free(slip_map *map)
{
    free(map->slots);
    *map = (slip_map){0};
}

void slip_map_put(slip_map *map, const void *key, uint32_t size, int32_t value)
{
    *slot_of(map, key, size) = (slip_map_slot){key, size, value};
}

int32_t slip_map_find(const slip_map *map, const void *key, uint32_t size)
{
    const slip_map_slot *slot = slot_of(map, key, size);
    return slot->key != NULL ? slot->value : -1;
}
