#include "io/base/clock.h"

#include <time.h>

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
