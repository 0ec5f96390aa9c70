/* The checksums of what a writer has added, by dataset. */
#ifndef SLIP_IO_CHECKPOINT_WRITE_SUMS_H
#define SLIP_IO_CHECKPOINT_WRITE_SUMS_H

#include "io/checkpoint/checkpoint.h"

typedef struct {
    char name[SLIP_WEIGHT_NAME];
    uint32_t *checksums; /* [blocks], owned */
    int64_t blocks;
} slip_dataset_sums;

typedef struct {
    slip_dataset_sums *datasets; /* owned */
    int32_t count;
} slip_sums;

/* Room for the checksums of a dataset of so many bytes; NULL: no memory. */
uint32_t *slip_sums_add(slip_sums *sums, const char *name, int64_t bytes);

/* All of them as /checksums has them (io/checkpoint/checksum.h): in the order of names, in which the tokenizer is the last, then their own.
 * malloc'ed; NULL: no memory. */
uint32_t *slip_sums_join(slip_sums *sums, int64_t *count);

void slip_sums_free(slip_sums *sums);

#endif
