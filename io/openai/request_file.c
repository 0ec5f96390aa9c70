#include "io/openai/request_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/hash/hash.h"
#include "io/base/table/repeats.h"
#include "io/openai/request_input.h"

static const slip_request_defaults OPENAI_DEFAULTS = {.sampling = {.temperature = 1, .top_p = 1}};

/* How a made-up name begins. */
static const char MADE_UP[] = "line-";

struct slip_request_file {
    slip_lines lines;
    slip_request_defaults defaults;
    slip_repeats names;       /* the lines' own */
    int64_t count, positions; /* of the whole file */
    int64_t shard, shards;
    /* the one at hand: */
    int64_t index;    /* in the whole file */
    const char *line; /* [size], without a byte order mark */
    size_t size;
    char *name;
    uint64_t before; /* lines that had this name */
};

static slip_hash128 hash_of(const char *name)
{
    return slip_hash128_on(SLIP_HASH128_START, name, strlen(name));
}

/* The next line that is not blank. A byte order mark may stand where files were joined, too. */
static slip_status next_line(slip_request_file *file, bool *found)
{
    static const char mark[] = "\xef\xbb\xbf";
    for (;;) {
        slip_status status = slip_lines_next(&file->lines, found);
        if (status != SLIP_OK || !*found)
            return status;
        bool marked = file->lines.size >= 3 && memcmp(file->lines.line, mark, 3) == 0;
        file->lines.line += marked ? 3 : 0;
        file->lines.size -= marked ? 3 : 0;
        file->line = file->lines.line;
        file->size = file->lines.size;
        if (!slip_lines_blank(&file->lines))
            return SLIP_OK;
    }
}

/* Positions that a line's prompt and answer can need at most: no prompt has more tokens than its line bytes, but for what a
 * chat template adds. */
static int64_t positions_of(const slip_request_file *file, int64_t max_tokens)
{
    enum { TEMPLATE = 1024 };
    max_tokens = max_tokens > 0 ? max_tokens : file->defaults.max_tokens;
    return max_tokens > 0 && max_tokens < INT32_MAX ? (int64_t)file->size + TEMPLATE + max_tokens : INT64_MAX;
}

enum { WATCHED = 1024 }; /* lines from one look to the next */

static slip_status survey(slip_request_file *file)
{
    for (;;) {
        bool found;
        slip_request_glance glance;
        slip_status status = next_line(file, &found);
        if (status != SLIP_OK || !found)
            return status;
        if ((status = slip_request_look(file->line, file->size, &glance)) != SLIP_OK)
            return status;
        int64_t positions = positions_of(file, glance.max_tokens);
        if (++file->count % WATCHED == 0 && file->defaults.watch)
            file->defaults.watch(file->defaults.watch_context, file->count);
        file->positions = positions > file->positions ? positions : file->positions;
        if (glance.custom_id != NULL)
            status = slip_repeats_add(&file->names, hash_of(glance.custom_id), strncmp(glance.custom_id, MADE_UP, strlen(MADE_UP)) == 0);
        free(glance.custom_id);
        if (status != SLIP_OK)
            return status;
    }
}

slip_status slip_request_file_open(const char *path, const slip_request_defaults *defaults, slip_request_file **file)
{
    slip_request_file *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to read requests", path);
    opened->shards = 1;
    opened->defaults = defaults != NULL ? *defaults : OPENAI_DEFAULTS;
    slip_status status = slip_request_input_open(path, &opened->lines);
    if (status != SLIP_OK) {
        free(opened);
        return status;
    }
    status = survey(opened);
    if (status == SLIP_OK && opened->count == 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: holds no request", opened->lines.path);
    if (status == SLIP_OK)
        status = slip_request_file_rewind(opened);
    if (status != SLIP_OK) {
        slip_request_file_close(opened);
        return status;
    }
    *file = opened;
    return SLIP_OK;
}

void slip_request_file_close(slip_request_file *file)
{
    if (file == NULL)
        return;
    slip_lines_close(&file->lines);
    slip_repeats_free(&file->names);
    free(file->name);
    free(file);
}

void slip_request_file_take_shard(slip_request_file *file, int64_t shard, int64_t shards)
{
    file->shard = shard;
    file->shards = shards;
}

int64_t slip_request_file_count(const slip_request_file *file)
{
    return (file->count - file->shard + file->shards - 1) / file->shards;
}

int64_t slip_request_file_positions(const slip_request_file *file)
{
    return file->positions;
}

static slip_status changed(const slip_request_file *file)
{
    return slip_fail(SLIP_ERR_INPUT, "%s: line %" PRId64 " has changed since the run began to read it", file->lines.path,
                     file->lines.number);
}

/* "line-7", or, should a line have that name, "line-7.1" and so on. */
static slip_status make_up_name(const slip_request_file *file, char **name)
{
    char text[64];
    snprintf(text, sizeof text, "%s%" PRId64, MADE_UP, file->lines.number);
    for (int64_t i = 1; slip_repeats_has(&file->names, hash_of(text)); i++)
        snprintf(text, sizeof text, "%s%" PRId64 ".%" PRId64, MADE_UP, file->lines.number, i);
    *name = strdup(text);
    return *name != NULL ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "no memory to name line %" PRId64, file->lines.number);
}

/* The name of the line at hand, its own or a made-up one. */
static slip_status find_name(slip_request_file *file)
{
    free(file->name);
    file->name = NULL;
    file->before = 0;
    slip_request_glance glance;
    slip_status status = slip_request_look(file->line, file->size, &glance);
    if (status != SLIP_OK)
        return status;
    file->name = glance.custom_id;
    if (file->name == NULL)
        return make_up_name(file, &file->name);
    bool same = true;
    status = slip_repeats_next(&file->names, hash_of(file->name), &file->before, &same);
    return status == SLIP_OK && !same ? changed(file) : status;
}

/* The next request of the whole file. */
static slip_status next_of_all(slip_request_file *file, bool *found)
{
    slip_status status = next_line(file, found);
    if (status == SLIP_OK && *found != (file->index + 1 < file->count))
        status = changed(file);
    file->index += *found;
    return status == SLIP_OK && *found ? find_name(file) : status;
}

slip_status slip_request_file_next(slip_request_file *file, bool *found)
{
    slip_status status;
    do
        status = next_of_all(file, found);
    while (status == SLIP_OK && *found && file->index % file->shards != file->shard);
    return status;
}

int64_t slip_request_file_index(const slip_request_file *file)
{
    return file->index / file->shards;
}

const char *slip_request_file_name(const slip_request_file *file)
{
    return file->name;
}

/* A custom_id is its first line's. The count in the hash of a repeated one tells equal lines apart, so that a resumed run
 * knows which of them it has answered. */
static void refuse_repeated(const slip_request_file *file, slip_request *request)
{
    if (file->before == 0)
        return;
    request->hash = slip_hash(request->hash, &file->before, sizeof file->before);
    if (request->refusal.status_code == 0)
        slip_request_refuse(request, 400, "duplicate_custom_id", "custom_id", "custom_id \"%.200s\" was used by an earlier line",
                            request->custom_id);
}

slip_status slip_request_file_parse(const slip_request_file *file, slip_request *request)
{
    slip_request parsed;
    char *name = strdup(file->name);
    if (name == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for request line %" PRId64, file->lines.number);
    slip_status status = slip_request_parse(file->line, file->size, file->lines.number, &file->defaults, &parsed);
    if (status != SLIP_OK) {
        free(name);
        return status;
    }
    free(parsed.custom_id);
    parsed.custom_id = name; /* the same, unless it was made up and taken */
    parsed.index = slip_request_file_index(file);
    refuse_repeated(file, &parsed);
    *request = parsed;
    return SLIP_OK;
}

slip_status slip_request_file_line_hash(const slip_request_file *file, uint64_t *hash)
{
    slip_request parsed;
    slip_status status = slip_request_parse(file->line, file->size, file->lines.number, &OPENAI_DEFAULTS, &parsed);
    if (status != SLIP_OK)
        return status;
    *hash = parsed.hash;
    slip_request_free(&parsed);
    return SLIP_OK;
}

slip_status slip_request_file_rewind(slip_request_file *file)
{
    slip_repeats_rewind(&file->names);
    file->index = -1;
    return slip_lines_rewind(&file->lines);
}
