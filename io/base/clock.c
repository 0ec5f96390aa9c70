#include "io/base/clock.h"

#include <math.h>
#include <time.h>

static const double RAN_S = 1; /* a loop that polls comes back within this while its process runs */

double slip_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double slip_now_ms(void)
{
    return 1e3 * slip_now_s();
}

slip_timer slip_timer_start(double now_s)
{
    return (slip_timer){.read_s = now_s};
}

double slip_timer_read(slip_timer *timer, double now_s)
{
    timer->waited_s += fmin(now_s - timer->read_s, RAN_S);
    timer->read_s = now_s;
    return timer->waited_s;
}
