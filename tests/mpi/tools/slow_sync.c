/* A disk that is slow to sync, for LD_PRELOAD: fdatasync() and fsync() take SLOW_SYNC_MS milliseconds longer. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int sync_call(int file);

static int sync_slowly(const char *name, int file)
{
    const char *text = getenv("SLOW_SYNC_MS");
    long ms = text ? strtol(text, NULL, 10) : 0;
    const struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
    return ((sync_call *)dlsym(RTLD_NEXT, name))(file);
}

int fdatasync(int file)
{
    return sync_slowly("fdatasync", file);
}

int fsync(int file)
{
    return sync_slowly("fsync", file);
}
