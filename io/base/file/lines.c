#include "io/base/file/lines.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"

enum { BLOCK = 1 << 18 };

slip_status slip_lines_adopt(int file, const char *path, size_t limit, slip_lines *lines)
{
    slip_lines opened = {.path = path, .limit = limit};
    slip_status status = slip_unpack_open(file, path, &opened.file);
    if (status != SLIP_OK)
        return status;
    opened.packed = slip_unpack_packed(opened.file);
    opened.block = malloc(BLOCK);
    if (opened.block == NULL) {
        slip_lines_close(&opened);
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to read it", path);
    }
    *lines = opened;
    return SLIP_OK;
}

slip_status slip_lines_open(const char *path, size_t limit, slip_lines *lines)
{
    int file;
    int64_t size;
    slip_status status = slip_file_open(path, &file, &size);
    return status == SLIP_OK ? slip_lines_adopt(file, path, limit, lines) : status;
}

/* Keep more of a line, up to limit + 1 bytes in all. */
static slip_status keep(slip_lines *lines, const char *bytes, size_t size)
{
    size_t room = lines->limit + 1 - lines->size;
    size = size < room ? size : room;
    if (size > lines->capacity - lines->size) {
        size_t capacity = 2 * (lines->size + size);
        char *grown = realloc(lines->kept, capacity);
        if (grown == NULL)
            return slip_fail(SLIP_ERR_FAILED, "%s: no memory for line %lld", lines->path, (long long)lines->number);
        lines->kept = grown;
        lines->capacity = capacity;
    }
    if (size > 0)
        memcpy(lines->kept + lines->size, bytes, size);
    lines->size += size;
    lines->line = lines->kept;
    return SLIP_OK;
}

/* Take the line's bytes in this block, or all of the block when it does not end there. */
static slip_status take_piece(slip_lines *lines)
{
    const char *bytes = lines->block + lines->at, *newline = memchr(bytes, '\n', lines->filled - lines->at);
    size_t size = newline != NULL ? (size_t)(newline - bytes) : lines->filled - lines->at;
    lines->whole = newline != NULL;
    lines->at += size + lines->whole;
    lines->end += (int64_t)size + lines->whole;
    if (!lines->whole || lines->size > 0)
        return keep(lines, bytes, size);
    lines->line = bytes;
    lines->size = size <= lines->limit ? size : lines->limit + 1;
    return SLIP_OK;
}

slip_status slip_lines_next(slip_lines *lines, bool *found)
{
    slip_status status = SLIP_OK;
    lines->begin = lines->end;
    lines->size = 0;
    lines->line = "";
    lines->whole = false;
    lines->number++;
    while (status == SLIP_OK && !lines->whole) {
        if (lines->at == lines->filled) {
            lines->at = 0;
            status = slip_unpack_read(lines->file, lines->block, BLOCK, &lines->filled);
            if (status != SLIP_OK || lines->filled == 0)
                break;
        }
        status = take_piece(lines);
    }
    *found = lines->end > lines->begin;
    return status;
}

slip_status slip_lines_rewind(slip_lines *lines)
{
    lines->number = lines->begin = lines->end = 0;
    lines->at = lines->filled = 0;
    return slip_unpack_rewind(lines->file);
}

bool slip_lines_blank(const slip_lines *lines)
{
    for (size_t i = 0; i < lines->size; i++)
        if (lines->line[i] != ' ' && lines->line[i] != '\t' && lines->line[i] != '\r')
            return false;
    return true;
}

void slip_lines_close(slip_lines *lines)
{
    slip_unpack_close(lines->file);
    free(lines->block);
    free(lines->kept);
}
