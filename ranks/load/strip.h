/* Which bytes of a dataset a rank reads, and where each of them goes. */
#ifndef SLIP_RANKS_LOAD_STRIP_H
#define SLIP_RANKS_LOAD_STRIP_H

#include <stdbool.h>
#include <sys/uio.h>

#include "io/checkpoint/checkpoint.h"

/* Runs of rows of a dataset, one an expert, our columns of them, and where they go. All in bytes but for counts. */
typedef struct {
    const slip_dataset *dataset;
    int64_t first, stride;  /* where the first run begins in the dataset, and how far apart runs begin: ascending */
    int64_t runs, rows;     /* rows of a run */
    int64_t row_bytes;      /* all columns of a row */
    int64_t column, bytes;  /* ours */
    unsigned char *to;      /* our bytes of the first row */
    int64_t to_run, to_row; /* how far apart runs and rows are there */
} slip_strip;

/* One read of a strip: it begins with a block of checksums and ends with one, or with the dataset. */
typedef struct {
    const slip_strip *strip;
    int64_t first, bytes; /* of the dataset */
} slip_strip_read;

/* A walk through the reads of some strips. Zero, but for the first two, to begin with. */
typedef struct {
    const slip_strip *strips;
    int32_t count;
    int32_t strip;
    int64_t run, done; /* what is read of this strip: the dataset's bytes before `done` */
} slip_strip_cursor;

/* The next read of at most `most` bytes, which are whole blocks; false: there is none. No block is read twice for a strip, and none in which
 * it has nothing, but for gaps of less than a block. */
bool slip_strip_next(slip_strip_cursor *cursor, int64_t most, slip_strip_read *read);

/* The places that a read fills, one behind the other: what is ours where it goes, the rest of its blocks in `spare` [read->bytes]. Returns how
 * many; 0: more than `most`, or our columns are not all of a row, so that the read goes to `spare` whole and is sorted from there. */
int32_t slip_strip_places(const slip_strip_read *read, unsigned char *spare, int32_t most, struct iovec *places);

/* Copy what of a read is ours to its place. */
void slip_strip_scatter(const slip_strip_read *read, const unsigned char *data);

#endif
