/* A file, line by line, with a bound on memory: a line beyond the limit is passed over, not stored. What gzip packed is
 * unpacked on the way (io/base/file/unpack.h).
 */
#ifndef SLIP_IO_BASE_FILE_LINES_H
#define SLIP_IO_BASE_FILE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"
#include "io/base/file/unpack.h"

/* Fields above the line are for readers; those below belong to io/base/file/lines.c. */
typedef struct {
    const char *line;   /* `size` bytes without the newline, not terminated; valid until the next call */
    size_t size;        /* limit + 1 when the line was longer than the limit */
    int64_t number;     /* counts lines from 1 */
    int64_t begin, end; /* its bytes in the text, the newline included */
    bool whole;         /* it ended in a newline */
    bool packed;        /* the text is not the file's own bytes */
    /* ---- */
    slip_unpack *file;
    const char *path;
    char *block, *kept; /* read ahead; a line that does not lie in one block */
    size_t at, filled, capacity, limit;
} slip_lines;

/* Open `path` (kept: it must outlive *lines). SLIP_ERR_INPUT when it cannot be opened or is not a regular file. */
slip_status slip_lines_open(const char *path, size_t limit, slip_lines *lines);

/* The same for an open file, which now belongs to *lines, or is closed if this fails. `path` is its name in messages. */
slip_status slip_lines_adopt(int file, const char *path, size_t limit, slip_lines *lines);

/* The next line; *found is false at the end of the file. */
slip_status slip_lines_next(slip_lines *lines, bool *found);

/* Back to the first line. */
slip_status slip_lines_rewind(slip_lines *lines);

/* Nothing but spaces, tabs and carriage returns? */
bool slip_lines_blank(const slip_lines *lines);

void slip_lines_close(slip_lines *lines);

#endif
