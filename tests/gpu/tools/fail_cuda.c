/* Part of a second slipstream (tests/CMakeLists.txt), which is the first one but for this: the linker hands each of its calls of CUDA's runtime
 * and NCCL to us (fail_cuda_calls.c, fail_nccl_calls.c), and we make the Nth of a name fail.
 *
 *   FAIL_CALL   the name of a call, such as cudaMalloc
 *   FAIL_AT     which of its calls, from 1
 *   FAIL_HOW    error (the default): this call alone fails; sticky: so do all that follow, as when a kernel has used an illegal address;
 *               late: this call, a launch, does nothing, and from the next call on that waits, all fail
 *   FAIL_RANK   the rank it is for; others run as ever
 *   FAIL_COUNT  each rank writes the numbers of its calls when main() returns, "NAME COUNT" a line, into this file with -RANK behind its name
 *
 * When main() returns, what was allocated and not released is told on standard error, unless all calls fail by then.
 */
#include "fail_cuda.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES = 128 };

typedef struct {
    const char *name;
    long count;
} total;

static total calls[NAMES], held[NAMES];
static bool is_wanted, fails_all, is_late;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static total *find(total totals[NAMES], const char *name)
{
    for (int i = 0; i < NAMES; i++)
        if (!totals[i].name || strcmp(totals[i].name, name) == 0) {
            totals[i].name = name;
            return &totals[i];
        }
    fprintf(stderr, "fail_cuda: more than %d names\n", NAMES);
    abort();
}

/* Where an error of a kernel shows that was launched before. */
static bool waits(const char *name)
{
    return strstr(name, "Synchronize") || strcmp(name, "cudaStreamQuery") == 0 || strcmp(name, "cudaMemcpy") == 0;
}

static fail_way way(const char *name, long number)
{
    fails_all |= is_late && waits(name);
    if (fails_all)
        return FAIL_STICKY;
    if (number != atol(setting("FAIL_AT", "0")) || strcmp(name, setting("FAIL_CALL", "")) != 0)
        return FAIL_NOT;
    fprintf(stderr, "fail_cuda: %s %ld fails\n", name, number);
    const char *how = setting("FAIL_HOW", "error");
    fails_all = strcmp(how, "sticky") == 0;
    is_late = strcmp(how, "late") == 0;
    return is_late ? FAIL_LATE : fails_all ? FAIL_STICKY : FAIL_ERROR;
}

fail_way fail_cuda(const char *name)
{
    pthread_mutex_lock(&mutex);
    long number = ++find(calls, name)->count;
    fail_way result = is_wanted ? way(name, number) : FAIL_NOT;
    pthread_mutex_unlock(&mutex);
    return result;
}

void fail_cuda_hold(const char *what, int count)
{
    pthread_mutex_lock(&mutex);
    find(held, what)->count += count;
    pthread_mutex_unlock(&mutex);
}

void fail_cuda_forget(const char *what)
{
    pthread_mutex_lock(&mutex);
    find(held, what)->count = 0;
    pthread_mutex_unlock(&mutex);
}

extern int __real_main(int argc, char **argv);
int __wrap_main(int argc, char **argv);

static void write_counts(const char *rank)
{
    char path[4096];
    snprintf(path, sizeof path, "%s-%s", setting("FAIL_COUNT", ""), rank);
    FILE *file = getenv("FAIL_COUNT") ? fopen(path, "w") : NULL;
    for (int i = 0; file && i < NAMES && calls[i].name; i++)
        fprintf(file, "%s %ld\n", calls[i].name, calls[i].count);
    if (file)
        fclose(file);
}

int __wrap_main(int argc, char **argv)
{
    const char *rank = setting("OMPI_COMM_WORLD_RANK", setting("PMIX_RANK", "0"));
    is_wanted = strcmp(rank, setting("FAIL_RANK", "0")) == 0;
    int status = __real_main(argc, argv);
    write_counts(rank);
    for (int i = 0; !fails_all && i < NAMES && held[i].name; i++)
        if (held[i].count != 0)
            fprintf(stderr, "fail_cuda: %ld not released: %s\n", held[i].count, held[i].name);
    return status;
}
