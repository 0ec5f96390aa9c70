#include "coordinator/kv/extents.h"

#include <assert.h>
#include <string.h>

/* Where the gap before extent `i` begins; that of `count` is behind all of them. */
static int64_t gap_first(const slip_extents *extents, int32_t i)
{
    return i > 0 ? extents->taken[i - 1].first + extents->taken[i - 1].count : 0;
}

static int64_t gap_count(const slip_extents *extents, int32_t i)
{
    return (i < extents->count ? extents->taken[i].first : extents->total) - gap_first(extents, i);
}

/* The first gap of `positions`: its extent will be number i. Behind the last: there is none. */
static int32_t first_fit(const slip_extents *extents, int64_t positions)
{
    int32_t i = 0;
    while (i <= extents->count && gap_count(extents, i) < positions)
        i++;
    return i;
}

bool slip_extents_fit(const slip_extents *extents, int64_t positions)
{
    return first_fit(extents, positions) <= extents->count;
}

int64_t slip_extents_take(slip_extents *extents, int64_t positions)
{
    int32_t i = first_fit(extents, positions);
    assert(positions > 0 && i <= extents->count && extents->count < SLIP_MAX_SPANS);
    slip_range extent = {gap_first(extents, i), positions};
    memmove(&extents->taken[i + 1], &extents->taken[i], (size_t)(extents->count - i) * sizeof extent);
    extents->taken[i] = extent;
    extents->count++;
    return extent.first;
}

void slip_extents_give(slip_extents *extents, int64_t base)
{
    int32_t i = 0;
    while (i < extents->count && extents->taken[i].first != base)
        i++;
    assert(i < extents->count);
    extents->count--;
    memmove(&extents->taken[i], &extents->taken[i + 1], (size_t)(extents->count - i) * sizeof extents->taken[0]);
}
