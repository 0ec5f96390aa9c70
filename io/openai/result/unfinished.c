#include "io/openai/result/unfinished.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/base/file/lines.h"
#include "io/base/file/replace.h"
#include "io/base/table/tally.h"
#include "io/openai/result/line.h"
#include "io/openai/result/unfinished_line.h"

/* A request: few are ever in flight, so that a list is enough. */
typedef struct {
    slip_hash128 key;
    char *line; /* [size], its newline included */
    size_t size;
    int64_t number; /* of the line it was read from; 0: it is this run's */
    bool matched;   /* the request is in the input */
} entry;

struct slip_unfinished {
    char *path;
    uint64_t run_hash;
    entry *entries; /* [count] */
    size_t count, room;
    slip_tally names; /* of the requests that were read */
    int64_t damaged, first_damaged;
    bool changed; /* since the file was read or written */
};

static entry *entry_of(const slip_unfinished *unfinished, slip_hash128 key)
{
    for (size_t i = 0; i < unfinished->count; i++)
        if (unfinished->entries[i].key == key)
            return &unfinished->entries[i];
    return NULL;
}

/* Add a request that is not there yet. The line becomes the list's, even if this fails. */
static slip_status add(slip_unfinished *unfinished, const entry *added)
{
    if (unfinished->count == unfinished->room) {
        size_t room = 2 * unfinished->room + 16;
        entry *grown = realloc(unfinished->entries, room * sizeof *grown);
        if (grown == NULL) {
            free(added->line);
            return slip_fail(SLIP_ERR_FAILED, "%s: no memory for %zu requests", unfinished->path, room);
        }
        unfinished->entries = grown;
        unfinished->room = room;
    }
    unfinished->entries[unfinished->count++] = *added;
    return SLIP_OK;
}

/* ---- reading ---- */

static slip_status read_record(slip_unfinished *unfinished, const slip_lines *lines, const slip_unfinished_record *record)
{
    uint64_t before;
    if (record->run_hash != unfinished->run_hash)
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: line %" PRId64 " was begun with another model or other settings (run_hash %016" PRIx64 ", now %016" PRIx64
                         "); remove the file or give another output file",
                         unfinished->path, lines->number, record->run_hash, unfinished->run_hash);
    entry read = {slip_result_key(record->custom_id, record->request_hash), malloc(lines->size + 1), lines->size + 1, lines->number, false};
    if (read.line == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for line %" PRId64, unfinished->path, lines->number);
    memcpy(read.line, lines->line, lines->size);
    read.line[lines->size] = '\n';
    slip_status status = slip_tally_add(&unfinished->names, slip_result_name(record->custom_id), &before);
    if (status == SLIP_OK && entry_of(unfinished, read.key) == NULL)
        return add(unfinished, &read);
    free(read.line);
    return status;
}

/* Could it be ours, or what a crash made of it? */
static bool looks_ours(const slip_lines *lines)
{
    static const char prefix[] = SLIP_UNFINISHED_PREFIX;
    for (size_t i = 0; i < lines->size && i < sizeof prefix - 1; i++)
        if (lines->line[i] != prefix[i] && lines->line[i] != '\0')
            return false;
    return true;
}

static slip_status read_line(slip_unfinished *unfinished, const slip_lines *lines)
{
    slip_unfinished_record record;
    if (!looks_ours(lines))
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: line %" PRId64 " is not what slipstream batch leaves there; move the file or give another output file",
                         unfinished->path, lines->number);
    if (!slip_unfinished_line_parse(lines->line, lines->size, &record)) {
        unfinished->changed = true; /* the line goes */
        if (unfinished->damaged++ == 0)
            unfinished->first_damaged = lines->number;
        return SLIP_OK;
    }
    slip_status status = read_record(unfinished, lines, &record);
    json_decref(record.json);
    return status;
}

static slip_status read_file(slip_unfinished *unfinished, bool resume)
{
    slip_lines lines;
    struct stat info;
    if (stat(unfinished->path, &info) != 0)
        return errno == ENOENT ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "%s: cannot be examined: %s", unfinished->path, strerror(errno));
    if (!resume)
        return slip_fail(SLIP_ERR_INPUT, "%s: holds answers that an earlier run began; --resume goes on with them, or remove it",
                         unfinished->path);
    slip_status status = slip_lines_open(unfinished->path, SLIP_RESULT_LINE_MAX, &lines);
    if (status != SLIP_OK)
        return status;
    bool more = true;
    while (status == SLIP_OK && (status = slip_lines_next(&lines, &more)) == SLIP_OK && more)
        status = read_line(unfinished, &lines);
    slip_lines_close(&lines);
    return status;
}

slip_status slip_unfinished_open(const char *output, bool resume, uint64_t run_hash, slip_unfinished **unfinished)
{
    slip_unfinished *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be written: out of memory", output);
    opened->run_hash = run_hash;
    slip_status status = slip_file_beside(output, ".unfinished", &opened->path);
    if (status == SLIP_OK)
        status = read_file(opened, resume);
    if (status != SLIP_OK) {
        slip_unfinished_close(opened);
        return status;
    }
    *unfinished = opened;
    return SLIP_OK;
}

void slip_unfinished_close(slip_unfinished *unfinished)
{
    if (unfinished == NULL)
        return;
    for (size_t i = 0; i < unfinished->count; i++)
        free(unfinished->entries[i].line);
    slip_tally_free(&unfinished->names);
    free(unfinished->entries);
    free(unfinished->path);
    free(unfinished);
}

int64_t slip_unfinished_count(const slip_unfinished *unfinished)
{
    return (int64_t)unfinished->count;
}

int64_t slip_unfinished_damaged(const slip_unfinished *unfinished, int64_t *first)
{
    *first = unfinished->first_damaged;
    return unfinished->damaged;
}

bool slip_unfinished_named(const slip_unfinished *unfinished, const char *custom_id)
{
    return slip_tally_count(&unfinished->names, slip_result_name(custom_id)) > 0;
}

void slip_unfinished_match(slip_unfinished *unfinished, slip_hash128 key)
{
    entry *found = entry_of(unfinished, key);
    if (found != NULL)
        found->matched = true;
}

slip_status slip_unfinished_check(const slip_unfinished *unfinished)
{
    for (size_t i = 0; i < unfinished->count; i++)
        if (!unfinished->entries[i].matched)
            return slip_fail(SLIP_ERR_INPUT,
                             "%s: line %" PRId64 " is of a request that is not in the input, or has changed since, or was asked with other "
                             "options; remove the file or give another output file",
                             unfinished->path, unfinished->entries[i].number);
    return SLIP_OK;
}

slip_status slip_unfinished_find(const slip_unfinished *unfinished, const slip_request *request, slip_begun *begun)
{
    const entry *found = entry_of(unfinished, slip_result_key(request->custom_id, request->hash));
    slip_unfinished_record record;
    *begun = (slip_begun){0};
    if (found == NULL || !slip_unfinished_line_parse(found->line, found->size - 1, &record))
        return SLIP_OK;
    slip_status status = slip_unfinished_line_choices(&record, begun);
    json_decref(record.json);
    return status;
}

/* ---- writing ---- */

void slip_unfinished_drop(slip_unfinished *unfinished, slip_hash128 key)
{
    entry *found = entry_of(unfinished, key);
    if (found == NULL)
        return;
    free(found->line);
    *found = unfinished->entries[--unfinished->count];
    unfinished->changed = true;
}

slip_status slip_unfinished_put(slip_unfinished *unfinished, const slip_request *request, const slip_answer *answers)
{
    entry put = {.key = slip_result_key(request->custom_id, request->hash), .matched = true};
    slip_status status = slip_unfinished_line(request, unfinished->run_hash, answers, &put.line, &put.size);
    if (status != SLIP_OK)
        return status;
    slip_unfinished_drop(unfinished, put.key);
    unfinished->changed = true;
    return add(unfinished, &put);
}

static slip_status write_lines(void *context, FILE *file)
{
    const slip_unfinished *unfinished = context;
    for (size_t i = 0; i < unfinished->count; i++)
        fwrite(unfinished->entries[i].line, 1, unfinished->entries[i].size, file);
    return SLIP_OK;
}

slip_status slip_unfinished_save(slip_unfinished *unfinished)
{
    if (!unfinished->changed)
        return SLIP_OK;
    if (unfinished->count > 0) {
        slip_status status = slip_file_replace(unfinished->path, write_lines, unfinished);
        unfinished->changed = status != SLIP_OK;
        return status;
    }
    if (unlink(unfinished->path) != 0 && errno != ENOENT)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be removed: %s", unfinished->path, strerror(errno));
    slip_file_sync_folder(unfinished->path);
    unfinished->changed = false;
    return SLIP_OK;
}
