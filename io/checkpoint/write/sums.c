#include "io/checkpoint/write/sums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/hash/crc32c.h"
#include "io/checkpoint/checksum.h"

uint32_t *slip_sums_add(slip_sums *sums, const char *name, int64_t bytes)
{
    int64_t blocks = slip_checksum_blocks(bytes);
    slip_dataset_sums *grown = realloc(sums->datasets, (size_t)(sums->count + 1) * sizeof *grown);
    uint32_t *checksums = malloc((size_t)blocks * sizeof *checksums + 1);
    if (grown != NULL)
        sums->datasets = grown;
    if (grown == NULL || checksums == NULL) {
        free(checksums);
        return NULL;
    }
    slip_dataset_sums *added = &grown[sums->count++];
    *added = (slip_dataset_sums){.checksums = checksums, .blocks = blocks};
    snprintf(added->name, sizeof added->name, "%s", name);
    return checksums;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const slip_dataset_sums *)left)->name, ((const slip_dataset_sums *)right)->name);
}

uint32_t *slip_sums_join(slip_sums *sums, int64_t *count)
{
    int64_t blocks = 0;
    for (int32_t i = 0; i < sums->count; i++)
        blocks += sums->datasets[i].blocks;
    uint32_t *all = malloc((size_t)(blocks + 1) * sizeof *all);
    if (all == NULL)
        return NULL;
    if (sums->count > 0)
        qsort(sums->datasets, (size_t)sums->count, sizeof *sums->datasets, by_name);
    blocks = 0;
    for (int32_t i = 0; i < sums->count; i++) {
        memcpy(all + blocks, sums->datasets[i].checksums, (size_t)sums->datasets[i].blocks * sizeof *all);
        blocks += sums->datasets[i].blocks;
    }
    all[blocks] = slip_crc32c(all, (size_t)blocks * sizeof *all);
    *count = blocks + 1;
    return all;
}

void slip_sums_free(slip_sums *sums)
{
    for (int32_t i = 0; i < sums->count; i++)
        free(sums->datasets[i].checksums);
    free(sums->datasets);
}
