#include "coordinator/pace/times.h"

#include <assert.h>

static int mean_of(int32_t size)
{
    assert(size > 0 && size <= SLIP_MAX_ROWS);
    if (size <= SLIP_TIMES_APART)
        return size - 1;
    int at = SLIP_TIMES_APART;
    int32_t below = SLIP_TIMES_APART;
    for (; size > 2 * below; below *= 2)
        at += 2;
    return at + (2 * size > 3 * below);
}

double slip_blend_ms(double mean, double ms, double share)
{
    if (mean == 0)
        return ms;
    return mean + (ms < 2 * mean ? ms - mean : mean) * share;
}

/* What was measured this long ago says less than what is measured now. */
enum { OLD = 64 };

void slip_step_times_add(slip_step_times *times, int32_t size, double ms, int64_t when)
{
    int at = mean_of(size);
    times->mean[at].size = times->mean[at].size == 0 ? size : times->mean[at].size + (size - times->mean[at].size) * SLIP_BLEND;
    times->mean[at].ms = slip_blend_ms(times->mean[at].ms, ms, when - times->mean[at].when > OLD ? 0.5 : SLIP_BLEND);
    times->mean[at].when = when;
}

double slip_step_times_ms(const slip_step_times *times, int32_t size)
{
    double below = 0, below_ms = 0;
    for (int i = 0; i < SLIP_TIMES_MEANS; i++) {
        double above = times->mean[i].size, above_ms = times->mean[i].ms;
        if (above == 0)
            continue;
        if (above >= size)
            return below_ms + (above_ms - below_ms) * (size - below) / (above - below);
        below = above;
        below_ms = above_ms;
    }
    return below_ms;
}

int64_t slip_step_times_when(const slip_step_times *times, int32_t size)
{
    return times->mean[mean_of(size)].when;
}
