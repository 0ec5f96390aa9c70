#include "ranks/load/strip.h"

#include <string.h>

#include "io/checkpoint/checksum.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- what is read ---- */

static int64_t run_begin(const slip_strip *strip, int64_t run)
{
    return (strip->first + run * strip->stride) / SLIP_CHECKSUM_BLOCK * SLIP_CHECKSUM_BLOCK;
}

static int64_t run_end(const slip_strip *strip, int64_t run)
{
    int64_t end = strip->first + run * strip->stride + strip->rows * strip->row_bytes;
    return least(slip_checksum_blocks(end) * SLIP_CHECKSUM_BLOCK, strip->dataset->bytes);
}

/* Go on to the next run that has something left; false: the strip is read. */
static bool find_run(slip_strip_cursor *cursor, const slip_strip *strip)
{
    bool empty = strip->rows == 0 || strip->bytes == 0;
    while (cursor->run < strip->runs && (empty || run_end(strip, cursor->run) <= cursor->done))
        cursor->run++;
    return cursor->run < strip->runs;
}

bool slip_strip_next(slip_strip_cursor *cursor, int64_t limit, slip_strip_read *read)
{
    while (cursor->strip < cursor->count && !find_run(cursor, &cursor->strips[cursor->strip])) {
        cursor->strip++;
        cursor->run = cursor->done = 0;
    }
    if (cursor->strip == cursor->count)
        return false;
    const slip_strip *strip = &cursor->strips[cursor->strip];
    int64_t begin = most(run_begin(strip, cursor->run), cursor->done), end = run_end(strip, cursor->run);
    while (end - begin < limit && cursor->run + 1 < strip->runs && run_begin(strip, cursor->run + 1) <= end)
        end = run_end(strip, ++cursor->run);
    cursor->done = least(end, begin + limit);
    *read = (slip_strip_read){strip, begin, cursor->done - begin};
    return true;
}

/* ---- where it goes ---- */

/* Bytes [first, end) of a run that lie in one row. */
static void copy_row(const slip_strip *strip, unsigned char *to, int64_t row, int64_t first, int64_t end, const unsigned char *data)
{
    int64_t begin = row * strip->row_bytes + strip->column, from = most(first, begin), until = least(end, begin + strip->bytes);
    if (from < until)
        memcpy(to + row * strip->to_row + (from - begin), data + (from - first), (size_t)(until - from));
}

/* Bytes [first, end) of a run, which are at `data`. */
static void copy_run(const slip_strip *strip, unsigned char *to, int64_t first, int64_t end, const unsigned char *data)
{
    if (strip->bytes == strip->row_bytes && strip->to_row == strip->row_bytes)
        memcpy(to + first, data, (size_t)(end - first));
    else
        for (int64_t row = first / strip->row_bytes; row * strip->row_bytes < end; row++)
            copy_row(strip, to, row, first, end, data);
}

void slip_strip_scatter(const slip_strip_read *read, const unsigned char *data)
{
    const slip_strip *strip = read->strip;
    int64_t size = strip->rows * strip->row_bytes, behind = read->first + read->bytes;
    int64_t run = strip->stride > 0 && read->first > strip->first + size ? (read->first - strip->first - size) / strip->stride : 0;
    for (; run < strip->runs && strip->first + run * strip->stride < behind; run++) {
        int64_t begin = strip->first + run * strip->stride, first = most(read->first - begin, 0), end = least(behind - begin, size);
        if (first < end)
            copy_run(strip, strip->to + run * strip->to_run, first, end, data + (begin + first - read->first));
    }
}
