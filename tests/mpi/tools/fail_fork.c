/* FAIL_HOW=all: a run in which each call of a kind fails, in a child process of its own that goes on from there to its end, so that a run of
 * half a second tries thousands of calls. The run is of one rank, and its children leave MPI alone.
 *
 *   FAIL_FOLDER  where the run's files are, and no others
 *   FAIL_LOG     gets a child's standard output and error
 *   FAIL_JUDGE   a command that is told the call's number and the child's exit status (128 + signal, 124: it hangs), once for all children
 *                that end with the same status, words and files
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail_after.h"

enum { FILES = 8, DESCRIPTORS = 64, OUTCOMES = 1 << 16, HANGS_S = 300 };

/* A file of the run: its bytes, and a second link, since who has it open goes on with this very file. */
typedef struct {
    char path[PATH_MAX], link[PATH_MAX];
    char *bytes;
    size_t size;
} saved;

static saved files[FILES];
static int file_count;
static off_t offsets[DESCRIPTORS]; /* -1: none */

bool fail_forked;

static void die(const char *what)
{
    perror(what);
    _exit(99);
}

static void read_whole(const char *path, char **bytes, size_t *size)
{
    struct stat about;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &about) != 0 || (*bytes = malloc((size_t)about.st_size + 1)) == NULL ||
        read(file, *bytes, (size_t)about.st_size) != about.st_size)
        die(path);
    *size = (size_t)about.st_size;
    close(file);
}

static void save_file(const char *folder, const char *name)
{
    saved *file = &files[file_count++];
    if (file_count > FILES)
        die("more files than fail_fork.c expects");
    snprintf(file->path, sizeof file->path, "%s/%s", folder, name);
    snprintf(file->link, sizeof file->link, "%s.kept-%s", folder, name);
    read_whole(file->path, &file->bytes, &file->size);
    if (link(file->path, file->link) != 0)
        die(file->link);
}

/* Call for each file in the run's folder. */
static void for_each(void (*call)(const char *folder, const char *name))
{
    const char *folder = fail_setting("FAIL_FOLDER", "");
    DIR *entries = opendir(folder);
    if (!entries)
        die(folder);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (entry->d_name[0] != '.')
            call(folder, entry->d_name);
    closedir(entries);
}

static void save(void)
{
    file_count = 0;
    for_each(save_file);
    for (int i = 0; i < DESCRIPTORS; i++)
        offsets[i] = lseek(i, 0, SEEK_CUR);
}

static void remove_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static void restore(void)
{
    for_each(remove_file);
    for (int i = 0; i < file_count; i++) {
        saved *file = &files[i];
        if (rename(file->link, file->path) != 0)
            die(file->path);
        int opened = open(file->path, O_WRONLY);
        if (opened < 0 || write(opened, file->bytes, file->size) != (ssize_t)file->size || ftruncate(opened, (off_t)file->size) != 0)
            die(file->path);
        close(opened);
        free(file->bytes);
    }
    for (int i = 0; i < DESCRIPTORS; i++)
        if (offsets[i] >= 0)
            lseek(i, offsets[i], SEEK_SET);
}

/* ---- how it ended ---- */

static uint64_t outcome;

static void mix(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        outcome = (outcome ^ (unsigned char)bytes[i]) * 0x100000001B3;
}

static void mix_path(const char *path)
{
    char *bytes;
    size_t size;
    mix(path, strlen(path));
    read_whole(path, &bytes, &size);
    mix(bytes, size);
    free(bytes);
}

static void mix_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!strstr(name, ".h5")) /* holds times */
        mix_path(path);
}

static bool is_new(int status)
{
    static uint64_t outcomes[OUTCOMES];
    outcome = 0xCBF29CE484222325 ^ (uint64_t)(unsigned)status;
    mix_path(fail_setting("FAIL_LOG", ""));
    for_each(mix_file);
    size_t slot = outcome % OUTCOMES;
    for (; outcomes[slot] && outcomes[slot] != outcome;)
        slot = (slot + 1) % OUTCOMES;
    bool new = outcomes[slot] == 0;
    outcomes[slot] = outcome;
    return new;
}

static void judge(long number, int status)
{
    char command[2 * PATH_MAX];
    int ended = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) == SIGALRM ? 124 : 128 + WTERMSIG(status);
    if (!is_new(ended))
        return;
    snprintf(command, sizeof command, "%s %ld %d", fail_setting("FAIL_JUDGE", "false"), number, ended);
    if (system(command) != 0)
        die(command);
}

static void become_child(void)
{
    int log = open(fail_setting("FAIL_LOG", ""), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fail_forked = true;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        die("FAIL_LOG");
    close(log);
    alarm(HANGS_S);
}

bool fail_fork(long number)
{
    int status;
    if (gettid() != getpid())
        return false;
    save();
    fail_live_lock();
    pid_t child = fork();
    fail_live_unlock();
    if (child < 0)
        die("fork");
    if (child == 0) {
        become_child();
        return true;
    }
    if (waitpid(child, &status, 0) != child)
        die("waitpid");
    judge(number, status);
    restore();
    return false;
}

/* ---- what a child must leave to its parent ---- */

int MPI_Abort(MPI_Comm comm, int status)
{
    if (fail_forked)
        _exit(status);
    return PMPI_Abort(comm, status);
}
int pthread_kill(pthread_t thread, int number)
{
    return fail_forked ? 0 : REAL(int, pthread_kill, pthread_t, int)(thread, number);
}
int pthread_join(pthread_t thread, void **result)
{
    return fail_forked ? 0 : REAL(int, pthread_join, pthread_t, void **)(thread, result);
}
