/* What steps cost by their size: running means of measured times, interpolated. A device's steps (small steps for the price of one row, tiles
 * of 64 rows) show in the means; nothing here knows of them.
 *
 * What was never measured is taken to cost little: beyond the largest size as much as that, below the smallest in proportion. So it is tried,
 * and then it is known.
 */
#ifndef SLIP_COORDINATOR_PACE_TIMES_H
#define SLIP_COORDINATOR_PACE_TIMES_H

#include <stdint.h>

#include "ranks/model/program.h"

/* Sizes 1, 2, ... 8 have a mean each; above, two an octave: 9 - 12, 13 - 16, 17 - 24, ... SLIP_MAX_ROWS. */
enum { SLIP_TIMES_APART = 8, SLIP_TIMES_MEANS = SLIP_TIMES_APART + 2 * 8 };
_Static_assert(SLIP_TIMES_APART << 8 == SLIP_MAX_ROWS, "the last mean is of the largest step");

/* Plain data; zero it to start. */
typedef struct {
    struct {
        double size, ms; /* running means; size 0 = not measured */
        int64_t when;    /* last measured, as the caller counts; 0 = never */
    } mean[SLIP_TIMES_MEANS];
} slip_step_times;

void slip_step_times_add(slip_step_times *times, int32_t size, double ms, int64_t when);

/* Milliseconds; 0 = nothing was ever measured. */
double slip_step_times_ms(const slip_step_times *times, int32_t size);

/* When something of about this size was last measured; 0 = never. */
int64_t slip_step_times_when(const slip_step_times *times, int32_t size);

/* A running mean of times with one more that has this share: one slow step (another program's turn) must not overturn it. 0 = none yet. */
#define SLIP_BLEND 0.125
double slip_blend_ms(double mean, double ms, double share);

#endif
