#include "io/base/memory/large.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LINE = 64, HUGE_PAGE = 2 << 20 };

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
