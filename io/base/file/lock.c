#include "io/base/file/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/base/file/leftover.h"
#include "io/base/file/replace.h"

enum { ATTEMPTS = 100 };

struct slip_lock {
    int file;
    bool made; /* PATH.lock was not there before */
    char *path;
};

static const char *job_id(void)
{
    static const char *const names[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]) != NULL)
            return getenv(names[i]);
    return NULL;
}

enum { NAME = 300 };

/* "process N on HOST" */
static const char *name_self(char name[NAME])
{
    char host[256] = "?";
    gethostname(host, sizeof host - 1);
    snprintf(name, NAME, "process %ld on %s", (long)getpid(), host);
    return name;
}

static void write_holder(const slip_lock *lock)
{
    char self[NAME], when[32] = "?";
    const char *job = job_id();
    time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    if (ftruncate(lock->file, 0) == 0) /* it only informs: a full disk is the output's to report */
        dprintf(lock->file, "%s%s%s since %s", name_self(self), job != NULL ? ", job " : "", job != NULL ? job : "", when);
}

static slip_status refuse(const slip_lock *lock, const char *target, const char *advice)
{
    char holder[400], self[NAME];
    ssize_t size = pread(lock->file, holder, sizeof holder - 1, 0);
    holder[size > 0 ? size : 0] = '\0';
    size_t own = strlen(name_self(self));
    if (strncmp(holder, self, own) == 0 && (holder[own] == ' ' || holder[own] == ','))
        advice = "that is this command: give its outputs different names";
    return slip_fail(SLIP_ERR_INPUT, "%s: is being written by %s (%s); %s", target, size > 0 ? holder : "another process", lock->path,
                     advice);
}

static slip_status open_lock(slip_lock *lock, const char *target)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    struct stat info;
    lock->file = open(lock->path, flags | O_EXCL, 0666);
    lock->made = lock->file >= 0;
    if (lock->file < 0 && errno == EEXIST)
        lock->file = open(lock->path, flags, 0666);
    if (lock->file < 0)
        return slip_fail(slip_file_blame(errno), "%s: cannot be written: %s: %s", target, lock->path, strerror(errno));
    if (fstat(lock->file, &info) == 0 && !S_ISREG(info.st_mode))
        return slip_fail(SLIP_ERR_INPUT, "%s: cannot be written: %s is in the way", target, lock->path);
    return SLIP_OK;
}

/* Is the file that was locked still the one by this name? Its last holder may have removed it in between. */
static bool is_current(const slip_lock *lock)
{
    struct stat named, held;
    return stat(lock->path, &named) == 0 && fstat(lock->file, &held) == 0 && named.st_dev == held.st_dev && named.st_ino == held.st_ino;
}

/* A file of this name that somebody else made is not ours to overwrite and remove. */
static bool is_lock(const slip_lock *lock)
{
    static const char begins[] = "process ";
    char text[sizeof begins - 1];
    const ssize_t size = pread(lock->file, text, sizeof text, 0);
    return size >= 0 && memcmp(text, begins, (size_t)size) == 0; /* a full disk may have cut it */
}

static slip_status try_lock(slip_lock *lock, const char *target, bool *taken)
{
    slip_status status = open_lock(lock, target);
    *taken = false;
    if (status != SLIP_OK)
        return status;
    if (flock(lock->file, LOCK_EX | LOCK_NB) == 0) {
        if (!lock->made && !is_lock(lock))
            return slip_fail(SLIP_ERR_INPUT, "%s: cannot be written: %s is in the way, and is no lock", target, lock->path);
        *taken = is_current(lock);
        return SLIP_OK;
    }
    if (errno == EWOULDBLOCK)
        return refuse(lock, target, "wait for its end, or name another output");
    if (!lock->made)
        return refuse(lock, target, "this file system has no locks: remove that file if the process is gone");
    *taken = true;
    return SLIP_OK;
}

slip_status slip_lock_take(const char *path, slip_lock **lock)
{
    slip_lock *made = calloc(1, sizeof *made);
    bool taken = false;
    if (made == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be written: out of memory", path);
    slip_status status = slip_file_beside(path, ".lock", &made->path);
    for (int i = 0; i < ATTEMPTS && status == SLIP_OK && !taken; i++) {
        status = try_lock(made, path, &taken);
        if (!taken && made->file >= 0)
            close(made->file);
    }
    if (status == SLIP_OK && !taken)
        status = slip_fail(SLIP_ERR_FAILED, "%s: cannot be locked: %s is made and removed by others all the time", path, made->path);
    if (status != SLIP_OK) {
        free(made->path);
        free(made);
        return status;
    }
    slip_leftover_add(made->path);
    write_holder(made);
    *lock = made;
    return SLIP_OK;
}

void slip_lock_release(slip_lock *lock)
{
    if (lock == NULL)
        return;
    slip_leftover_forget(lock->path);
    unlink(lock->path); /* first: whoever locks it from now on sees that it is not the current one */
    close(lock->file);
    free(lock->path);
    free(lock);
}
