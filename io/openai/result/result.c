#include "io/openai/result/result.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/activity/activity.h"
#include "io/base/clock.h"
#include "io/base/file/file.h"
#include "io/base/file/leftover.h"
#include "io/base/file/lock.h"
#include "io/base/file/replace.h"
#include "io/base/text.h"
#include "io/openai/result/line.h"
#include "io/openai/result/resume.h"

enum { PENDING_MAX = 1 << 20 };

static const double PENDING_S = 0.5; /* refusals wait for each other this long */

struct slip_results {
    int file;
    char *path;
    slip_lock *lock;  /* of a regular file */
    bool regular;     /* can be synced and cut; a pipe or a terminal cannot */
    int64_t size;     /* of a regular file: whole, synced lines only */
    int64_t unsynced; /* bytes of whole lines behind them */
    double synced_s;
    uint64_t run_hash;
    slip_finished finished;
    slip_unfinished *unfinished; /* beside a regular file */
    slip_text pending;           /* whole lines to be written */
};

static slip_status failed(const slip_results *results, const char *what, int cause)
{
    return slip_fail(SLIP_ERR_FAILED, "%s: %s: %s", strcmp(results->path, "-") ? results->path : "standard output", what, strerror(cause));
}

/* A pipe, a terminal or the like is nobody's alone. */
static slip_status take_lock(slip_results *results)
{
    struct stat info;
    if (strcmp(results->path, "-") == 0 || (stat(results->path, &info) == 0 && !S_ISREG(info.st_mode)))
        return SLIP_OK;
    return slip_lock_take(results->path, &results->lock);
}

/* A FIFO must have a reader by now: without O_NONBLOCK, opening it would wait for one. */
static slip_status open_path(slip_results *results)
{
    int flags;
    if (access(results->path, F_OK) != 0)
        slip_leftover_add(results->path); /* first: a signal may come as soon as it is there */
    results->file = open(results->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (results->file < 0)
        return slip_fail(slip_file_blame(errno), "%s: cannot be written: %s", results->path,
                         errno == ENXIO ? "nobody reads from its other end" : strerror(errno));
    flags = fcntl(results->file, F_GETFL);
    return flags >= 0 && fcntl(results->file, F_SETFL, flags & ~O_NONBLOCK) == 0 ? SLIP_OK : failed(results, "cannot be opened", errno);
}

static slip_status check_empty(const char *path, const struct stat *info, bool resume)
{
    if (S_ISREG(info->st_mode) && info->st_size > 0 && !resume)
        return slip_fail(SLIP_ERR_INPUT, "%s: exists and is not empty; --resume goes on with it", path);
    return SLIP_OK;
}

/* Open the file behind results->path and see what it is. */
static slip_status open_file(slip_results *results, bool resume)
{
    if (strcmp(results->path, "-") == 0) {
        if ((fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) == O_RDONLY)
            return slip_fail(SLIP_ERR_INPUT, "standard output is closed; name an output file");
        results->file = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
        return results->file >= 0 ? SLIP_OK : failed(results, "standard output cannot be used", errno);
    }
    struct stat info;
    slip_status status = open_path(results);
    if (status != SLIP_OK)
        return status;
    if (fstat(results->file, &info) != 0)
        return failed(results, "cannot be examined", errno);
    results->regular = S_ISREG(info.st_mode);
    results->size = info.st_size;
    status = check_empty(results->path, &info, resume);
    if (status == SLIP_OK && results->regular)
        slip_file_sync_folder(results->path);
    return status;
}

/* Has an earlier run left what this one cannot go on with? */
static slip_status check_earlier(const char *path, bool resume, uint64_t run_hash, slip_request_file *requests)
{
    slip_unfinished *unfinished = NULL;
    slip_finished finished = {0};
    slip_status status = slip_unfinished_open(path, resume, run_hash, &unfinished);
    if (status == SLIP_OK && resume && requests != NULL)
        status = slip_results_resume(path, run_hash, requests, unfinished, false, &finished);
    slip_unfinished_close(unfinished);
    free(finished.flags);
    return status;
}

slip_status slip_results_check(const char *path, bool resume, uint64_t run_hash, slip_request_file *requests)
{
    struct stat info;
    if (strcmp(path, "-") == 0)
        return SLIP_OK;
    if (stat(path, &info) != 0) {
        slip_status status = slip_file_check_folder(path);
        return status == SLIP_OK ? check_earlier(path, resume, run_hash, requests) : status;
    }
    if (access(path, W_OK) != 0 || S_ISDIR(info.st_mode)) {
        const int error = S_ISDIR(info.st_mode) ? EISDIR : errno;
        return slip_fail(slip_file_blame(error), "%s: cannot be written: %s", path, strerror(error));
    }
    slip_status status = check_empty(path, &info, resume);
    return status == SLIP_OK && S_ISREG(info.st_mode) ? check_earlier(path, resume, run_hash, requests) : status;
}

slip_status slip_results_open(const char *path, bool resume, uint64_t run_hash, slip_request_file *requests, slip_results **results)
{
    if (resume && strcmp(path, "-") == 0)
        return slip_fail(SLIP_ERR_INPUT, "standard output cannot be resumed; name an output file");
    slip_results *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for results", path);
    slip_status status = SLIP_OK;
    *opened = (slip_results){.file = -1, .path = strdup(path), .run_hash = run_hash};
    if (opened->path == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory for results", path);
    if (status == SLIP_OK)
        status = take_lock(opened);
    if (status == SLIP_OK && opened->lock != NULL)
        status = slip_unfinished_open(path, resume, run_hash, &opened->unfinished);
    if (status == SLIP_OK && resume)
        status = slip_results_resume(path, run_hash, requests, opened->unfinished, true, &opened->finished);
    if (status == SLIP_OK)
        status = open_file(opened, resume);
    if (status != SLIP_OK) {
        slip_results_close(opened);
        return status;
    }
    *results = opened;
    return SLIP_OK;
}

const slip_resumed *slip_results_resumed(const slip_results *results)
{
    return &results->finished.resumed;
}

bool slip_results_has(const slip_results *results, int64_t index)
{
    return results->finished.flags != NULL && results->finished.flags[index];
}

/* A line that is not on disk as a whole must not be there at all. */
static slip_status take_back(slip_results *results, int cause)
{
    results->unsynced = 0;
    if (results->regular && ftruncate(results->file, results->size) != 0)
        return failed(results, "a line could not be written, and its torn rest could not be cut off", cause);
    return failed(results, "a line could not be written", cause);
}

static slip_status write_pending(slip_results *results)
{
    slip_text *pending = &results->pending;
    slip_status status = SLIP_OK;
    if (pending->failed)
        status = slip_fail(SLIP_ERR_FAILED, "%s: out of memory for result lines", results->path);
    if (pending->size > 0)
        slip_leftover_forget(results->path);
    for (size_t done = 0; done < pending->size && status == SLIP_OK;) {
        ssize_t wrote = write(results->file, pending->bytes + done, pending->size - done);
        if (wrote > 0)
            done += (size_t)wrote;
        else if (wrote == 0 || errno != EINTR)
            status = take_back(results, wrote == 0 ? ENOSPC : errno);
    }
    if (status == SLIP_OK)
        results->unsynced += (int64_t)pending->size;
    slip_text_free(pending);
    return status;
}

/* All that was added is on the disk. */
static slip_status flush(slip_results *results)
{
    if (results->regular) /* a pipe's reader may take its time */
        slip_activity_wait(SLIP_WAIT_CALL, "writing", results->path);
    slip_status status = write_pending(results);
    if (status == SLIP_OK && results->unsynced > 0 && results->regular && fdatasync(results->file) != 0)
        status = take_back(results, errno);
    slip_activity_go_on();
    results->size += results->unsynced;
    results->unsynced = 0;
    results->synced_s = slip_now_s();
    return status;
}

/* Add `line` and free it: to the disk at once, or with others. */
static slip_status append(slip_results *results, char *line, size_t size, bool at_once)
{
    slip_text_add(&results->pending, line, size);
    free(line);
    if (at_once)
        return flush(results);
    return results->pending.size > PENDING_MAX ? write_pending(results) : SLIP_OK;
}

/* Add the line of a request that has ended: nothing of it is unfinished any more. */
static slip_status finish(slip_results *results, const slip_request *request, char *line, size_t size, bool at_once)
{
    slip_status status = append(results, line, size, at_once);
    if (status == SLIP_OK && results->unfinished != NULL)
        slip_unfinished_drop(results->unfinished, slip_result_key(request->custom_id, request->hash));
    return status;
}

slip_status slip_results_answer(slip_results *results, const slip_request *request, const slip_answer *answers)
{
    char *line;
    size_t size;
    slip_status status = slip_result_line_answer(request, results->run_hash, answers, &line, &size);
    return status == SLIP_OK ? finish(results, request, line, size, true) : status;
}

slip_status slip_results_refuse(slip_results *results, const slip_request *request)
{
    char *line;
    size_t size;
    slip_status status = slip_result_line_refuse(request, results->run_hash, &line, &size);
    return status == SLIP_OK ? finish(results, request, line, size, slip_now_s() - results->synced_s >= PENDING_S) : status;
}

slip_status slip_results_never_ran(slip_results *results, const char *custom_id, const char *code, const char *message)
{
    char *line;
    size_t size;
    slip_status status = slip_result_line_never_ran(custom_id, results->run_hash, code, message, &line, &size);
    return status == SLIP_OK ? append(results, line, size, false) : status;
}

void slip_begun_free(slip_begun *begun)
{
    for (int32_t i = 0; i < begun->count; i++) {
        free((char *)begun->choices[i].text);
        free((int32_t *)begun->choices[i].ids);
    }
    free(begun->choices);
    *begun = (slip_begun){0};
}

slip_status slip_results_begun(const slip_results *results, const slip_request *request, slip_begun *begun)
{
    *begun = (slip_begun){0};
    return results->unfinished != NULL ? slip_unfinished_find(results->unfinished, request, begun) : SLIP_OK;
}

static bool has_tokens(const slip_request *request, const slip_answer *answers)
{
    int32_t i = 0;
    while (i < slip_request_choices(request) && answers[i].completion_tokens == 0)
        i++;
    return i < slip_request_choices(request);
}

slip_status slip_results_give_up(slip_results *results, const slip_request *request, const slip_answer *answers, const char *code,
                                 const char *message)
{
    slip_status status = SLIP_OK;
    if (results->unfinished != NULL && !request->logprobs && has_tokens(request, answers))
        status = slip_unfinished_put(results->unfinished, request, answers);
    return status == SLIP_OK ? slip_results_never_ran(results, request->custom_id, code, message) : status;
}

slip_status slip_results_save(slip_results *results)
{
    return results->unfinished != NULL ? slip_unfinished_save(results->unfinished) : SLIP_OK;
}

slip_status slip_results_close(slip_results *results)
{
    if (results == NULL)
        return SLIP_OK;
    slip_status status = results->file >= 0 ? flush(results) : SLIP_OK;
    slip_status saved = results->file >= 0 ? slip_results_save(results) : SLIP_OK;
    if (status == SLIP_OK)
        status = saved;
    if (results->file >= 0 && close(results->file) != 0 && errno != EINTR)
        status = failed(results, "closing it failed", errno);
    if (results->path != NULL)
        slip_leftover_forget(results->path);
    slip_lock_release(results->lock);
    slip_unfinished_close(results->unfinished);
    slip_text_free(&results->pending);
    free(results->finished.flags);
    free(results->path);
    free(results);
    return status;
}
