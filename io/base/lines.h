/* A file, line by line, with a bound on memory: a line beyond the limit is passed over, not stored. */
#ifndef SLIP_IO_BASE_LINES_H
#define SLIP_IO_BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "io/base/status.h"

/* Fields above the line are for readers; those below belong to io/base/lines.c. */
typedef struct {
    const char *line;   /* `size` bytes without the newline, not terminated; valid until the next call */
    size_t size;        /* limit + 1 when the line was longer than the limit */
    int64_t number;     /* counts lines from 1 */
    int64_t begin, end; /* its bytes in the file, the newline included */
    bool whole;         /* it ended in a newline */
    /* ---- */
    FILE *file;
    const char *path;
    char *buffer;
    size_t capacity, limit;
} slip_lines;

/* Open `path` (kept: it must outlive *lines). SLIP_ERR_INPUT when it cannot be opened. */
slip_status slip_lines_open(const char *path, size_t limit, slip_lines *lines);

/* The next line; *found is false at the end of the file. */
slip_status slip_lines_next(slip_lines *lines, bool *found);

/* Nothing but spaces, tabs and carriage returns? */
bool slip_lines_blank(const slip_lines *lines);

void slip_lines_close(slip_lines *lines);

#endif
