#include "io/base/memory/large.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LINE = 64, HUGE_PAGE = 2 << 20, BLOCK = 32 << 20 };

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

void *slip_large_alloc(size_t size)
{
    size_t lines = size > LINE ? round_up(size, LINE) : LINE;
    size_t unit = lines < 4 * (size_t)HUGE_PAGE ? LINE : HUGE_PAGE, whole = round_up(lines, unit);
    unsigned char *memory = aligned_alloc(unit, whole);
    if (memory == NULL)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (unit == HUGE_PAGE)
        madvise(memory, whole, MADV_HUGEPAGE);
#endif
    memset(memory + lines - LINE, 0, LINE);
    return memory;
}

static bool add_block(slip_large_pieces *pieces, size_t bytes)
{
    const size_t size = round_up(LINE + bytes, BLOCK);
    unsigned char *block = slip_large_alloc(size);
    if (block == NULL)
        return false;
    memcpy(block, &pieces->block, sizeof pieces->block);
    *pieces = (slip_large_pieces){block, LINE, size};
    return true;
}

void *slip_large_piece(slip_large_pieces *pieces, size_t size)
{
    if (size > PTRDIFF_MAX - LINE - BLOCK)
        return NULL;
    const size_t lines = size > LINE ? round_up(size, LINE) : LINE;
    if (lines > pieces->size - pieces->used && !add_block(pieces, lines))
        return NULL;
    unsigned char *memory = pieces->block + pieces->used;
    pieces->used += lines;
    memset(memory + lines - LINE, 0, LINE);
    return memory;
}

void slip_large_free_pieces(slip_large_pieces *pieces)
{
    while (pieces->block != NULL) {
        unsigned char *block = pieces->block;
        memcpy(&pieces->block, block, sizeof pieces->block);
        free(block);
    }
    *pieces = (slip_large_pieces){0};
}
