#include "ranks/load/strip.h"

#include <string.h>

#include "io/checkpoint/checksum.h"
#include "ranks/model/program.h"

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

/* The first run that a read may have something of. */
static int64_t first_run(const slip_strip_read *read)
{
    const slip_strip *strip = read->strip;
    int64_t size = strip->rows * strip->row_bytes;
    return strip->stride > 0 && read->first > strip->first + size ? (read->first - strip->first - size) / strip->stride : 0;
}

/* What a read has of a run: `count` of its bytes from `first` on; none where that is not above 0. */
static slip_range part_of_run(const slip_strip_read *read, int64_t run)
{
    const slip_strip *strip = read->strip;
    int64_t begin = strip->first + run * strip->stride, first = most(read->first - begin, 0);
    return (slip_range){first, least(read->first + read->bytes - begin, strip->rows * strip->row_bytes) - first};
}

/* Add a place, or lengthen the last one. */
static int32_t add_place(struct iovec *places, int32_t count, int32_t limit, unsigned char *at, int64_t bytes)
{
    if (count > 0 && count <= limit && (unsigned char *)places[count - 1].iov_base + places[count - 1].iov_len == at) {
        places[count - 1].iov_len += (size_t)bytes;
        return count;
    }
    if (count < limit)
        places[count] = (struct iovec){at, (size_t)bytes};
    return count + 1;
}

int32_t slip_strip_places(const slip_strip_read *read, unsigned char *spare, int32_t limit, struct iovec *places)
{
    const slip_strip *strip = read->strip;
    int64_t placed = 0;
    int32_t count = 0;
    if (strip->bytes != strip->row_bytes || strip->to_row != strip->row_bytes)
        return 0;
    for (int64_t run = first_run(read); run < strip->runs && strip->first + run * strip->stride < read->first + read->bytes; run++) {
        slip_range part = part_of_run(read, run);
        int64_t at = strip->first + run * strip->stride + part.first - read->first;
        if (part.count <= 0)
            continue;
        if (at > placed)
            count = add_place(places, count, limit, spare + placed, at - placed);
        count = add_place(places, count, limit, strip->to + run * strip->to_run + part.first, part.count);
        placed = at + part.count;
    }
    if (placed < read->bytes)
        count = add_place(places, count, limit, spare + placed, read->bytes - placed);
    return count <= limit ? count : 0;
}

void slip_strip_scatter(const slip_strip_read *read, const unsigned char *data)
{
    const slip_strip *strip = read->strip;
    for (int64_t run = first_run(read); run < strip->runs && strip->first + run * strip->stride < read->first + read->bytes; run++) {
        slip_range part = part_of_run(read, run);
        if (part.count > 0)
            copy_run(strip, strip->to + run * strip->to_run, part.first, part.first + part.count,
                     data + (strip->first + run * strip->stride + part.first - read->first));
    }
}
