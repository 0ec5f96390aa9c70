#include <pthread.h>
#include <stdio.h>

#include "fail_after.h"

enum { SLOTS = 1 << 18, SITES = 4096 }; /* a run of the demo holds some 40,000 blocks at a time */

typedef struct {
    const void *memory; /* NULL: never used */
    size_t site;        /* 0: it was freed */
} block;

typedef struct {
    size_t site;
    long count;
} total;

static block blocks[SLOTS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void fail_live_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void fail_live_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

/* Its slot; where it has none, the first that was never used. */
static block *find(const void *memory)
{
    size_t slot = ((size_t)memory >> 4) * 0x9E3779B97F4A7C15 >> 46;
    for (int tries = 0; blocks[slot].memory && blocks[slot].memory != memory && tries < SLOTS; tries++)
        slot = (slot + 1) % SLOTS;
    return &blocks[slot];
}

void fail_live_add(const void *memory, size_t site)
{
    fail_live_lock();
    if (memory)
        *find(memory) = (block){memory, site};
    fail_live_unlock();
}

void fail_live_remove(const void *memory)
{
    fail_live_lock();
    if (memory)
        find(memory)->site = 0;
    fail_live_unlock();
}

static void add(total totals[SITES], size_t site, long count)
{
    int i = 0;
    while (i < SITES - 1 && totals[i].site != 0 && totals[i].site != site)
        i++;
    totals[i].site = site;
    totals[i].count += count;
}

static void sum(total totals[SITES])
{
    for (int slot = 0; slot < SLOTS; slot++)
        if (blocks[slot].site)
            add(totals, blocks[slot].site, 1);
}

void fail_live_write(const char *path)
{
    static total totals[SITES];
    sum(totals);
    FILE *file = fopen(path, "a");
    for (int i = 0; file && totals[i].site; i++)
        fprintf(file, "live %#zx %ld\n", totals[i].site, totals[i].count);
    if (file)
        fclose(file);
}

void fail_live_compare(const char *path)
{
    static total totals[SITES];
    char line[128];
    size_t site;
    long count;
    sum(totals);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "live %zx %ld", &site, &count) == 2)
            add(totals, site, -count);
    if (file)
        fclose(file);
    for (int i = 0; totals[i].site; i++)
        if (totals[i].count > 0)
            fprintf(stderr, "fail_after: %ld not freed of %#zx\n", totals[i].count, totals[i].site);
}
