/*
 * A disk that is slow to sync, for LD_PRELOAD: fdatasync() and fsync() take SLOW_SYNC_MS milliseconds longer, with SLOW_SYNC_WHILE only
 * while that file is there.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef int sync_call(int file);

static int sync_slowly(const char *name, int file)
{
    const char *text = getenv("SLOW_SYNC_MS"), *file_there = getenv("SLOW_SYNC_WHILE");
    long ms = text && (!file_there || access(file_there, F_OK) == 0) ? strtol(text, NULL, 10) : 0;
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
