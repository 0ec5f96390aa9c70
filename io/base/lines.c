#include "io/base/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

slip_status slip_lines_open(const char *path, size_t limit, slip_lines *lines)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return slip_fail(SLIP_ERR_INPUT, "%s: cannot be read: %s", path, strerror(errno));
    *lines = (slip_lines){.file = file, .path = path, .limit = limit};
    return SLIP_OK;
}

/* Keep one more byte, up to limit + 1 of them. */
static slip_status keep(slip_lines *lines, char byte)
{
    if (lines->size > lines->limit)
        return SLIP_OK;
    if (lines->size == lines->capacity) {
        size_t capacity = lines->capacity == 0 ? 4096 : 2 * lines->capacity;
        char *grown = realloc(lines->buffer, capacity);
        if (grown == NULL)
            return slip_fail(SLIP_ERR_FAILED, "%s: no memory for line %lld", lines->path,
                             (long long)lines->number);
        lines->buffer = grown;
        lines->capacity = capacity;
    }
    lines->buffer[lines->size++] = byte;
    return SLIP_OK;
}

slip_status slip_lines_next(slip_lines *lines, bool *found)
{
    int byte;
    lines->begin = lines->end;
    lines->size = 0;
    lines->number++;
    while ((byte = getc_unlocked(lines->file)) != EOF && byte != '\n') {
        slip_status status = keep(lines, (char)byte);
        if (status != SLIP_OK)
            return status;
        lines->end++;
    }
    /* A folder can be opened like a file and fails only here. */
    if (byte == EOF && ferror(lines->file))
        return slip_fail(errno == EISDIR ? SLIP_ERR_INPUT : SLIP_ERR_FAILED, "%s: cannot be read: %s",
                         lines->path, strerror(errno));
    lines->whole = byte == '\n';
    lines->end += lines->whole;
    lines->line = lines->size > 0 ? lines->buffer : "";
    *found = lines->end > lines->begin;
    return SLIP_OK;
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
    fclose(lines->file);
    free(lines->buffer);
}
