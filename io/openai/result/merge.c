#include "io/openai/result/merge.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/base/file/lines.h"
#include "io/base/file/replace.h"
#include "io/base/printable.h"
#include "io/openai/result/line.h"

enum { NAMED = 10, OPEN_MAX_FILES = 128 };

/* A result: where it lies, and whose it is. */
typedef struct {
    slip_hash128 name;
    uint64_t request_hash, line_hash;
    int64_t offset, size; /* in its file, without the newline */
    int64_t line;
    int32_t file;
    bool has_line_hash;
    bool refused, repeated; /* repeated: refused because an earlier line has its custom_id */
    int64_t taken;          /* in the first of a name: how many of the name have found their request */
} found_line;

typedef struct {
    char *const *paths; /* [count] */
    int count;
    found_line *lines; /* [size], owned */
    size_t size, room;
    size_t *order; /* [requests], owned: the line of each request */
    uint64_t run_hash;
    int *files; /* [count], owned: -1 where it is not open */
    int open;
    slip_merged merged;
    FILE *log;
} merge;

/* ---- reading the shards ---- */

static slip_status add_line(merge *m, const found_line *line)
{
    if (m->size == m->room) {
        size_t room = m->room > 0 ? 2 * m->room : 1024;
        found_line *grown = reallocarray(m->lines, room, sizeof *grown);
        if (grown == NULL)
            return slip_fail(SLIP_ERR_FAILED, "%s: no memory for its %" PRId64 " lines", m->paths[line->file], line->line);
        m->lines = grown;
        m->room = room;
    }
    m->lines[m->size++] = *line;
    return SLIP_OK;
}

/* Is this the refusal of a request whose custom_id an earlier line has? */
static bool is_repeated(const slip_result_record *record)
{
    const json_t *body = json_object_get(json_object_get(record->json, "response"), "body");
    const char *code = json_string_value(json_object_get(json_object_get(body, "error"), "code"));
    return code != NULL && strcmp(code, "duplicate_custom_id") == 0;
}

static slip_status add_record(merge *m, int file, const slip_lines *lines, const slip_result_record *record)
{
    if (record->never_ran)
        return SLIP_OK;
    if (m->size == 0)
        m->run_hash = record->run_hash;
    if (record->run_hash != m->run_hash)
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: line %" PRId64 ": run_hash: %016" PRIx64 ": written with another model or other settings than %s (%016" PRIx64
                         ")",
                         lines->path, lines->number, record->run_hash, m->paths[m->lines[0].file], m->run_hash);
    found_line line = {.name = slip_result_name(record->custom_id),
                       .request_hash = record->request_hash,
                       .line_hash = record->line_hash,
                       .has_line_hash = record->has_line_hash,
                       .offset = lines->begin,
                       .size = (int64_t)lines->size,
                       .line = lines->number,
                       .file = file,
                       .refused = record->refused,
                       .repeated = is_repeated(record)};
    return add_line(m, &line);
}

static slip_status read_line(merge *m, int file, const slip_lines *lines)
{
    slip_result_record record;
    if (slip_lines_blank(lines) && lines->whole)
        return SLIP_OK;
    if (!lines->whole)
        return slip_fail(SLIP_ERR_INPUT, "%s: line %" PRId64 " is torn: run its shard again with --resume", lines->path, lines->number);
    if (!slip_result_line_parse(lines->line, lines->size, &record))
        return slip_fail(SLIP_ERR_INPUT, "%s: line %" PRId64 " is not a result of slipstream batch", lines->path, lines->number);
    slip_status status = add_record(m, file, lines, &record);
    json_decref(record.json);
    return status;
}

static slip_status read_shard(merge *m, int file)
{
    slip_lines lines;
    bool more = true;
    slip_status status = slip_lines_open(m->paths[file], SLIP_RESULT_LINE_MAX, &lines);
    if (status != SLIP_OK)
        return status;
    if (lines.packed)
        status = slip_fail(SLIP_ERR_INPUT, "%s: is compressed; unpack it first", m->paths[file]);
    while (status == SLIP_OK && (status = slip_lines_next(&lines, &more)) == SLIP_OK && more)
        status = read_line(m, file, &lines);
    slip_lines_close(&lines);
    return status;
}

/* ---- a line for every request ---- */

static int compare_names(const found_line *a, const found_line *b)
{
    return memcmp(&a->name, &b->name, sizeof a->name);
}

static int compare_requests(const found_line *a, const found_line *b)
{
    int names = compare_names(a, b);
    if (names != 0 || a->repeated != b->repeated)
        return names != 0 ? names : a->repeated - b->repeated;
    return (a->request_hash > b->request_hash) - (a->request_hash < b->request_hash);
}

static int compare(const void *left, const void *right)
{
    const found_line *a = left, *b = right;
    int order = compare_requests(a, b);
    if (order == 0)
        order = (a->file > b->file) - (a->file < b->file);
    return order != 0 ? order : (a->line > b->line) - (a->line < b->line);
}

static void name_line(merge *m, int64_t *count, const char *what, const found_line *line)
{
    if ((*count)++ < NAMED)
        fprintf(m->log, "# %-16s %s: line %" PRId64 "\n", what, m->paths[line->file], line->line);
}

/* Sort the lines, and keep the first of those that answer one request. */
static void sort_lines(merge *m)
{
    size_t kept = 0;
    if (m->size > 0)
        qsort(m->lines, m->size, sizeof *m->lines, compare);
    for (size_t i = 0; i < m->size; i++)
        if (kept > 0 && compare_requests(&m->lines[kept - 1], &m->lines[i]) == 0)
            name_line(m, &m->merged.twice, "twice", &m->lines[i]);
        else
            m->lines[kept++] = m->lines[i];
    m->size = kept;
}

/* The first line of a name; m->size where there is none. */
static size_t find_name(const merge *m, slip_hash128 name)
{
    found_line wanted = {.name = name};
    size_t low = 0, high = m->size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_names(&m->lines[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->size && compare_names(&m->lines[low], &wanted) == 0 ? low : m->size;
}

/* Does the line answer the request as it is now? One that is refused for its name alone answers nothing. */
static slip_status check_request(merge *m, const slip_request_file *requests, const found_line *line)
{
    uint64_t hash;
    if (line->repeated)
        return SLIP_OK;
    if (!line->has_line_hash) {
        m->merged.unchecked++;
        return SLIP_OK;
    }
    slip_status status = slip_request_file_line_hash(requests, &hash);
    if (status == SLIP_OK && hash != line->line_hash)
        name_line(m, &m->merged.changed, "changed", line);
    return status;
}

static slip_status match_request(merge *m, const slip_request_file *requests)
{
    const char *name = slip_request_file_name(requests);
    int64_t index = slip_request_file_index(requests);
    size_t first = find_name(m, slip_result_name(name)), at = first;
    if (first < m->size)
        at += (size_t)m->lines[first].taken;
    if (at < m->size && compare_names(&m->lines[first], &m->lines[at]) == 0) {
        m->lines[first].taken++;
        m->order[index] = at;
        m->merged.refused += m->lines[at].refused;
        return check_request(m, requests, &m->lines[at]);
    }
    if (m->merged.missing++ < NAMED) {
        char shown[256];
        snprintf(shown, sizeof shown, "%.200s", name);
        slip_make_printable(shown);
        fprintf(m->log, "# %-16s request %" PRId64 ", \"%s\"\n", "missing", index + 1, shown);
    }
    return SLIP_OK;
}

/* Lines that found no request. */
static void name_foreign(merge *m)
{
    for (size_t first = 0, i = 0; i < m->size; i++) {
        if (compare_names(&m->lines[first], &m->lines[i]) != 0)
            first = i;
        if ((int64_t)(i - first) >= m->lines[first].taken)
            name_line(m, &m->merged.foreign, "foreign", &m->lines[i]);
    }
}

static slip_status match(merge *m, slip_request_file *requests)
{
    bool more;
    slip_status status;
    m->order = calloc((size_t)m->merged.requests, sizeof *m->order);
    if (m->order == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for %" PRId64 " requests", m->merged.requests);
    sort_lines(m);
    while ((status = slip_request_file_next(requests, &more)) == SLIP_OK && more)
        if ((status = match_request(m, requests)) != SLIP_OK)
            return status;
    if (status != SLIP_OK)
        return status;
    name_foreign(m);
    if (m->merged.missing + m->merged.twice + m->merged.foreign + m->merged.changed == 0)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_FAILED,
                     "nothing is merged: of %" PRId64 " requests %" PRId64 " have no result; lines that answer a request again: %" PRId64
                     ", one that has changed since: %" PRId64 ", none of them: %" PRId64,
                     m->merged.requests, m->merged.missing, m->merged.twice, m->merged.changed, m->merged.foreign);
}

/* ---- writing ---- */

static void close_files(merge *m)
{
    for (int i = 0; m->files != NULL && i < m->count; i++) {
        if (m->files[i] >= 0)
            close(m->files[i]);
        m->files[i] = -1;
    }
    m->open = 0;
}

/* Shards take turns: as many as may be stay open. */
static slip_status open_shard(merge *m, int file)
{
    int64_t size;
    if (m->files[file] >= 0)
        return SLIP_OK;
    if (m->open == OPEN_MAX_FILES)
        close_files(m);
    m->open++;
    return slip_file_open(m->paths[file], &m->files[file], &size);
}

static slip_status write_lines(void *context, FILE *out)
{
    merge *m = context;
    slip_status status = SLIP_OK;
    for (int64_t i = 0; i < m->merged.requests && status == SLIP_OK; i++) {
        const found_line *line = &m->lines[m->order[i]];
        char *bytes = malloc((size_t)line->size + 1); /* and its newline */
        if (bytes == NULL)
            return slip_fail(SLIP_ERR_FAILED, "no memory for a line of %" PRId64 " bytes", line->size);
        status = open_shard(m, line->file);
        if (status == SLIP_OK)
            status = slip_file_read_at(m->files[line->file], m->paths[line->file], bytes, line->size + 1, line->offset);
        if (status == SLIP_OK && (bytes[line->size] != '\n' || memcmp(bytes, SLIP_RESULT_PREFIX, sizeof SLIP_RESULT_PREFIX - 1) != 0))
            status = slip_fail(SLIP_ERR_INPUT, "%s: line %" PRId64 " has changed since it was read: is its shard still running?",
                               m->paths[line->file], line->line);
        if (status == SLIP_OK)
            fwrite(bytes, 1, (size_t)line->size + 1, out);
        free(bytes);
    }
    return status;
}

slip_status slip_results_merge(char *const *paths, int count, slip_request_file *requests, const char *out, FILE *log, slip_merged *merged)
{
    merge m = {.paths = paths, .count = count, .log = log, .merged.requests = slip_request_file_count(requests)};
    slip_status status = SLIP_OK;
    m.files = malloc((size_t)count * sizeof *m.files);
    if (m.files == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "no memory for %d files", count);
    for (int i = 0; i < count && status == SLIP_OK; i++) {
        m.files[i] = -1;
        status = read_shard(&m, i);
        m.count = i + 1;
    }
    if (status == SLIP_OK)
        status = match(&m, requests);
    if (status == SLIP_OK)
        status = slip_file_replace(out, write_lines, &m);
    close_files(&m);
    free(m.files);
    free(m.lines);
    free(m.order);
    *merged = m.merged;
    return status;
}
