#include "io/openai/result_resume.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/lines.h"
#include "io/openai/result_line.h"

/* An answer may echo its prompt, and JSON may write one byte as six. */
static const size_t line_limit = (size_t)SLIP_REQUEST_LINE_MAX * 8;

/* What the first reading found. */
typedef struct {
    uint64_t run_hash;
    json_t *requested; /* keys of the requests at hand */
    json_t *finished;  /* keys of the finished lines */
    int64_t sound;     /* bytes of the file that are sound lines; what follows is torn */
    int64_t torn_line; /* its number, 0 when there is none */
    bool unrun;        /* there are lines of requests that never ran */
} survey;

static char *make_key(const char *custom_id, uint64_t hash)
{
    char *key;
    return asprintf(&key, "%016" PRIx64 " %s", hash, custom_id) < 0 ? NULL : key;
}

slip_status slip_result_key_add(json_t *set, const char *custom_id, uint64_t hash)
{
    char *key = make_key(custom_id, hash);
    int failed = key == NULL || json_object_set_new_nocheck(set, key, json_true()) != 0;
    free(key);
    return failed ? slip_fail(SLIP_ERR_FAILED, "no memory to remember request \"%.200s\"", custom_id)
                  : SLIP_OK;
}

bool slip_result_key_in(const json_t *set, const char *custom_id, uint64_t hash)
{
    char *key = make_key(custom_id, hash);
    bool found = key != NULL && json_object_get(set, key) != NULL;
    free(key);
    return found;
}

void slip_results_sync_folder(const char *path)
{
    char *copy = strdup(path);
    int folder = copy == NULL ? -1 : open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        (void)fsync(folder);
        close(folder);
    }
    free(copy);
}

/* Could these be the first bytes of one of our lines? A crash may leave zeros in place of its bytes. */
static bool looks_torn(const slip_lines *lines)
{
    static const char prefix[] = SLIP_RESULT_PREFIX;
    for (size_t i = 0; i < lines->size && i < sizeof prefix - 1; i++)
        if (lines->line[i] != prefix[i] && lines->line[i] != '\0')
            return false;
    return true;
}

static slip_status survey_record(survey *found, const slip_lines *lines, const slip_result_record *record)
{
    if (record->never_ran) {
        found->unrun = true;
        return SLIP_OK;
    }
    if (record->run_hash != found->run_hash)
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: line %" PRId64 " was written with another model or other settings (run_hash "
                         "%016" PRIx64 ", now %016" PRIx64 "); give another output file",
                         lines->path, lines->number, record->run_hash, found->run_hash);
    if (!slip_result_key_in(found->requested, record->custom_id, record->request_hash))
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: line %" PRId64 " answers a request \"%.200s\" that is not in the input, or has "
                         "changed since; take the line out or give another output file",
                         lines->path, lines->number, record->custom_id);
    return slip_result_key_add(found->finished, record->custom_id, record->request_hash);
}

static slip_status survey_line(survey *found, const slip_lines *lines)
{
    slip_result_record record;
    if (found->torn_line != 0)
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: line %" PRId64 " is damaged, and not the last one; take it out or give another "
                         "output file",
                         lines->path, found->torn_line);
    if (slip_lines_blank(lines) && lines->whole) {
        found->sound = lines->end;
        return SLIP_OK;
    }
    if (!lines->whole || !slip_result_line_parse(lines->line, lines->size, &record)) {
        if (!looks_torn(lines))
            return slip_fail(SLIP_ERR_INPUT,
                             "%s: line %" PRId64 " is not a result of slipstream batch; give another output "
                             "file",
                             lines->path, lines->number);
        found->torn_line = lines->number;
        return SLIP_OK;
    }
    found->sound = lines->end;
    slip_status status = survey_record(found, lines, &record);
    json_decref(record.json);
    return status;
}

static slip_status survey_file(survey *found, const char *path)
{
    slip_lines lines;
    slip_status status = slip_lines_open(path, line_limit, &lines);
    if (status != SLIP_OK)
        return status;
    bool more = true;
    while (status == SLIP_OK && (status = slip_lines_next(&lines, &more)) == SLIP_OK && more)
        status = survey_line(found, &lines);
    slip_lines_close(&lines);
    return status;
}

/* Copy the sound lines but for those of requests that never ran. */
static slip_status copy_finished(const survey *found, const char *path, FILE *copy)
{
    slip_lines lines;
    slip_status status = slip_lines_open(path, line_limit, &lines);
    if (status != SLIP_OK)
        return status;
    bool more = true;
    while ((status = slip_lines_next(&lines, &more)) == SLIP_OK && more && lines.end <= found->sound) {
        slip_result_record record = {0};
        bool drop = slip_lines_blank(&lines) ||
                    (slip_result_line_parse(lines.line, lines.size, &record) && record.never_ran);
        json_decref(record.json);
        if (!drop) {
            fwrite(lines.line, 1, lines.size, copy);
            putc('\n', copy); /* the caller asks ferror() */
        }
    }
    slip_lines_close(&lines);
    return status;
}

/* The finished lines go to PATH.partial, which takes the place of `path` once it is safely on disk. */
static slip_status rewrite(const survey *found, const char *path)
{
    char *real = realpath(path, NULL), *partial = NULL; /* a link stays a link */
    slip_status status = SLIP_OK;
    if (real == NULL || asprintf(&partial, "%s.partial", real) < 0) {
        free(real);
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be repaired: %s", path, strerror(errno));
    }
    struct stat info;
    FILE *copy = fopen(partial, "we");
    if (copy == NULL) {
        status = slip_fail(SLIP_ERR_FAILED, "%s: cannot be written: %s", partial, strerror(errno));
        goto err_free;
    }
    status = copy_finished(found, path, copy);
    if (status == SLIP_OK && (fflush(copy) != 0 || ferror(copy) || fsync(fileno(copy)) != 0 ||
                              stat(real, &info) != 0 || fchmod(fileno(copy), info.st_mode & 07777) != 0))
        status = slip_fail(SLIP_ERR_FAILED, "%s: cannot be written: %s", partial, strerror(errno));
    if (fclose(copy) != 0 && status == SLIP_OK)
        status = slip_fail(SLIP_ERR_FAILED, "%s: cannot be written: %s", partial, strerror(errno));
    if (status == SLIP_OK && rename(partial, real) != 0)
        status =
            slip_fail(SLIP_ERR_FAILED, "%s: cannot take the place of %s: %s", partial, real, strerror(errno));
    if (status == SLIP_OK)
        slip_results_sync_folder(real);
    else
        unlink(partial);
err_free:
    free(partial);
    free(real);
    return status;
}

static slip_status repair(const survey *found, const char *path)
{
    if (found->unrun)
        return rewrite(found, path);
    if (found->torn_line != 0 && truncate(path, found->sound) != 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: the torn line %" PRId64 " cannot be cut off: %s", path,
                         found->torn_line, strerror(errno));
    return SLIP_OK;
}

slip_status slip_results_resume(const char *path, uint64_t run_hash, const slip_request *requests,
                                size_t count, json_t **finished)
{
    survey found = {.run_hash = run_hash, .requested = json_object(), .finished = json_object()};
    slip_status status = SLIP_OK;
    if (found.requested == NULL || found.finished == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory to resume", path);
    for (size_t i = 0; i < count && status == SLIP_OK; i++)
        status = slip_result_key_add(found.requested, requests[i].custom_id, requests[i].hash);
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (status == SLIP_OK && exists && !S_ISREG(info.st_mode)) /* a device may have no end */
        status = slip_fail(SLIP_ERR_INPUT, "%s: cannot be resumed: it is not a regular file", path);
    if (status == SLIP_OK && exists && (status = survey_file(&found, path)) == SLIP_OK)
        status = repair(&found, path);
    json_decref(found.requested);
    if (status != SLIP_OK) {
        json_decref(found.finished);
        return status;
    }
    *finished = found.finished;
    return SLIP_OK;
}
