/* For LD_PRELOAD: once the file CLOCK_JUMP_WHEN is there, the monotonic clock is 1000 s further. So do processes find it that were stopped together
 * for as long. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *t)
{
    const char *file = getenv("CLOCK_JUMP_WHEN");
    int status = ((int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime"))(clock, t);
    if (status == 0 && clock == CLOCK_MONOTONIC && file && access(file, F_OK) == 0)
        t->tv_sec += 1000;
    return status;
}
