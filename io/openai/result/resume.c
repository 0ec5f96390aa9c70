#include "io/openai/result/resume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/file/lines.h"
#include "io/base/file/replace.h"
#include "io/base/table/tally.h"
#include "io/openai/result/line.h"

/* What the first reading found. */
typedef struct {
    uint64_t run_hash;
    slip_tally finished; /* keys of the finished lines */
    slip_tally names;    /* their custom_ids */
    int64_t sound;       /* bytes of the file that are sound lines; what follows is torn */
    int64_t torn_line;   /* its number, 0 when there is none */
    bool idle;           /* there are blank lines, or lines of requests that never ran: they are taken out */
    slip_resumed resumed;
} survey;

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
    uint64_t before;
    if (record->never_ran) {
        found->idle = true;
        return SLIP_OK;
    }
    if (record->run_hash != found->run_hash)
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: line %" PRId64 " was written with another model or other settings (run_hash "
                         "%016" PRIx64 ", now %016" PRIx64 "); give another output file",
                         lines->path, lines->number, record->run_hash, found->run_hash);
    slip_status status = slip_tally_add(&found->finished, slip_result_key(record->custom_id, record->request_hash), &before);
    if (status == SLIP_OK && before > 0) {
        if (found->resumed.duplicates++ == 0)
            found->resumed.first_duplicate = lines->number;
        return SLIP_OK;
    }
    found->resumed.finished++;
    found->resumed.refused += record->refused;
    return status == SLIP_OK ? slip_tally_add(&found->names, slip_result_name(record->custom_id), &before) : status;
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
        found->idle = true;
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
    slip_status status = slip_lines_open(path, SLIP_RESULT_LINE_MAX, &lines);
    if (status != SLIP_OK)
        return status;
    bool more = true;
    if (lines.packed)
        status = slip_fail(SLIP_ERR_INPUT, "%s: is compressed, and cannot be gone on with; unpack it first", path);
    while (status == SLIP_OK && (status = slip_lines_next(&lines, &more)) == SLIP_OK && more)
        status = survey_line(found, &lines);
    slip_lines_close(&lines);
    return status;
}

/* ---- the requests ---- */

/* Is this request finished, or begun? */
static slip_status match_request(const survey *found, const slip_request *request, slip_unfinished *unfinished, bool *flags,
                                 slip_tally *matched)
{
    uint64_t before;
    slip_hash128 key = slip_result_key(request->custom_id, request->hash);
    flags[request->index] = slip_tally_count(&found->finished, key) > 0;
    if (!flags[request->index]) {
        slip_unfinished_match(unfinished, key);
        return SLIP_OK;
    }
    slip_unfinished_drop(unfinished, key);
    return slip_tally_add(matched, key, &before);
}

/* Which requests are finished; *matched counts their keys. Only those are parsed whose name has a result or is unfinished. */
static slip_status match_requests(const survey *found, slip_request_file *requests, slip_unfinished *unfinished, bool *flags,
                                  slip_tally *matched)
{
    bool more;
    slip_status status;
    while ((status = slip_request_file_next(requests, &more)) == SLIP_OK && more) {
        slip_request request;
        const char *name = slip_request_file_name(requests);
        if (slip_tally_count(&found->names, slip_result_name(name)) == 0 && !slip_unfinished_named(unfinished, name))
            continue;
        if ((status = slip_request_file_parse(requests, &request)) != SLIP_OK)
            return status;
        status = match_request(found, &request, unfinished, flags, matched);
        slip_request_free(&request);
        if (status != SLIP_OK)
            return status;
    }
    return status == SLIP_OK ? slip_request_file_rewind(requests) : status;
}

/* The first line that answers none of the requests. */
static slip_status refuse_stray(const char *path, const slip_tally *matched)
{
    slip_lines lines;
    slip_status status = slip_lines_open(path, SLIP_RESULT_LINE_MAX, &lines);
    if (status != SLIP_OK)
        return status;
    bool more = true;
    while (status == SLIP_OK && (status = slip_lines_next(&lines, &more)) == SLIP_OK && more) {
        slip_result_record record;
        if (!slip_result_line_parse(lines.line, lines.size, &record))
            continue;
        if (!record.never_ran && slip_tally_count(matched, slip_result_key(record.custom_id, record.request_hash)) == 0)
            status = slip_fail(SLIP_ERR_INPUT,
                               "%s: line %" PRId64 " answers a request \"%.200s\" that is not in the input, or has "
                               "changed since, or was asked with other options; take the line out or give another output file",
                               path, lines.number, record.custom_id);
        json_decref(record.json);
    }
    slip_lines_close(&lines);
    return status;
}

static slip_status match(const survey *found, const char *path, slip_request_file *requests, slip_unfinished *unfinished, bool *flags)
{
    slip_tally matched = {0};
    slip_status status = match_requests(found, requests, unfinished, flags, &matched);
    if (status == SLIP_OK && matched.used != found->finished.used)
        status = refuse_stray(path, &matched);
    if (status == SLIP_OK)
        status = slip_unfinished_check(unfinished);
    slip_tally_free(&matched);
    return status;
}

/* ---- the repair ---- */

/* Does this line stay? `copied` counts those that do. */
static slip_status keep_line(const slip_lines *lines, slip_tally *copied, bool *keep)
{
    slip_result_record record;
    uint64_t before = 0;
    slip_status status = SLIP_OK;
    *keep = false;
    if (slip_lines_blank(lines) || !slip_result_line_parse(lines->line, lines->size, &record))
        return SLIP_OK;
    if (!record.never_ran)
        status = slip_tally_add(copied, slip_result_key(record.custom_id, record.request_hash), &before);
    *keep = !record.never_ran && before == 0;
    json_decref(record.json);
    return status;
}

/* Where the repaired file comes from. */
typedef struct {
    const survey *found;
    const char *path;
} repaired;

/* Copy the first line of each finished request. */
static slip_status copy_finished(void *context, FILE *copy)
{
    const repaired *from = context;
    slip_lines lines;
    slip_tally copied = {0};
    slip_status status = slip_lines_open(from->path, SLIP_RESULT_LINE_MAX, &lines);
    if (status != SLIP_OK)
        return status;
    bool more = true, keep;
    while (status == SLIP_OK && (status = slip_lines_next(&lines, &more)) == SLIP_OK && more && lines.end <= from->found->sound) {
        status = keep_line(&lines, &copied, &keep);
        if (status == SLIP_OK && keep) {
            fwrite(lines.line, 1, lines.size, copy);
            putc('\n', copy);
        }
    }
    slip_lines_close(&lines);
    slip_tally_free(&copied);
    return status;
}

static slip_status repair(const survey *found, const char *path)
{
    if (found->idle || found->resumed.duplicates > 0) {
        repaired from = {found, path};
        return slip_file_replace(path, copy_finished, &from);
    }
    if (found->torn_line != 0 && truncate(path, found->sound) != 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: the torn line %" PRId64 " cannot be cut off: %s", path, found->torn_line, strerror(errno));
    return SLIP_OK;
}

static slip_status examine(survey *found, const char *path, slip_request_file *requests, slip_unfinished *unfinished, bool *flags)
{
    struct stat info;
    bool exists = stat(path, &info) == 0;
    slip_status status = SLIP_OK;
    if (exists && !S_ISREG(info.st_mode)) /* a device may have no end */
        return slip_fail(SLIP_ERR_INPUT, "%s: cannot be resumed: it is not a regular file", path);
    if (exists)
        status = survey_file(found, path);
    if (status == SLIP_OK && (found->finished.used > 0 || slip_unfinished_count(unfinished) > 0))
        status = match(found, path, requests, unfinished, flags);
    return status;
}

slip_status slip_results_resume(const char *path, uint64_t run_hash, slip_request_file *requests, slip_unfinished *unfinished,
                                bool may_repair, slip_finished *finished)
{
    survey found = {.run_hash = run_hash};
    bool *flags = calloc((size_t)slip_request_file_count(requests), sizeof *flags);
    slip_status status = flags != NULL ? examine(&found, path, requests, unfinished, flags)
                                       : slip_fail(SLIP_ERR_FAILED, "%s: no memory to resume", path);
    if (status == SLIP_OK && may_repair && access(path, F_OK) == 0)
        status = repair(&found, path);
    slip_tally_free(&found.finished);
    slip_tally_free(&found.names);
    if (status != SLIP_OK) {
        free(flags);
        return status;
    }
    found.resumed.begun = slip_unfinished_count(unfinished);
    found.resumed.damaged = slip_unfinished_damaged(unfinished, &found.resumed.first_damaged);
    *finished = (slip_finished){.flags = flags, .resumed = found.resumed};
    return SLIP_OK;
}
