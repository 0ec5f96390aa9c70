#include "io/openai/result.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/openai/result_line.h"
#include "io/openai/result_resume.h"

struct slip_results {
    int file;
    char *path;
    bool regular; /* can be synced and cut; a pipe or a terminal cannot */
    int64_t size; /* of a regular file: whole lines only */
    uint64_t run_hash;
    json_t *finished; /* keys of what the resumed file held */
};

static slip_status failed(const slip_results *results, const char *what, int cause)
{
    return slip_fail(SLIP_ERR_FAILED, "%s: %s: %s", strcmp(results->path, "-") ? results->path : "standard output", what, strerror(cause));
}

/* Open the file behind results->path and see what it is. */
static slip_status open_file(slip_results *results, bool resume)
{
    if (strcmp(results->path, "-") == 0) {
        results->file = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
        return results->file >= 0 ? SLIP_OK : failed(results, "standard output cannot be used", errno);
    }
    results->file = open(results->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (results->file < 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: cannot be written: %s", results->path, strerror(errno));
    struct stat info;
    if (fstat(results->file, &info) != 0)
        return failed(results, "cannot be examined", errno);
    results->regular = S_ISREG(info.st_mode);
    results->size = info.st_size;
    if (results->regular && results->size > 0 && !resume)
        return slip_fail(SLIP_ERR_INPUT, "%s: exists and is not empty; --resume goes on with it",
                         results->path);
    if (results->regular)
        slip_results_sync_folder(results->path);
    return SLIP_OK;
}

slip_status slip_results_open(const char *path, bool resume, uint64_t run_hash, const slip_request *requests,
                              size_t count, slip_results **results)
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
    if (status == SLIP_OK && resume)
        status = slip_results_resume(path, run_hash, requests, count, &opened->finished);
    if (status == SLIP_OK)
        status = open_file(opened, resume);
    if (status != SLIP_OK) {
        slip_results_close(opened);
        return status;
    }
    *results = opened;
    return SLIP_OK;
}

bool slip_results_has(const slip_results *results, const slip_request *request)
{
    return results->finished != NULL &&
           slip_result_key_in(results->finished, request->custom_id, request->hash);
}

/* A line that is not on disk as a whole must not be there at all. */
static slip_status take_back(slip_results *results, int cause)
{
    if (results->regular && ftruncate(results->file, results->size) != 0)
        return failed(results, "a line could not be written, and its torn rest could not be cut off", cause);
    return failed(results, "a line could not be written", cause);
}

/* Append `line` and free it. */
static slip_status append(slip_results *results, char *line, size_t size)
{
    slip_status status = SLIP_OK;
    for (size_t done = 0; done < size && status == SLIP_OK;) {
        ssize_t wrote = write(results->file, line + done, size - done);
        if (wrote > 0)
            done += (size_t)wrote;
        else if (wrote == 0 || errno != EINTR)
            status = take_back(results, wrote == 0 ? ENOSPC : errno);
    }
    if (status == SLIP_OK && results->regular && fdatasync(results->file) != 0)
        status = take_back(results, errno);
    if (status == SLIP_OK)
        results->size += (int64_t)size;
    free(line);
    return status;
}

slip_status slip_results_answer(slip_results *results, const slip_request *request, const slip_answer *answer)
{
    char *line;
    size_t size;
    slip_status status = slip_result_line_answer(request, results->run_hash, answer, &line, &size);
    return status == SLIP_OK ? append(results, line, size) : status;
}

slip_status slip_results_refuse(slip_results *results, const slip_request *request)
{
    char *line;
    size_t size;
    slip_status status = slip_result_line_refuse(request, results->run_hash, &line, &size);
    return status == SLIP_OK ? append(results, line, size) : status;
}

slip_status slip_results_never_ran(slip_results *results, const slip_request *request, const char *code,
                                   const char *message)
{
    char *line;
    size_t size;
    slip_status status = slip_result_line_never_ran(request, results->run_hash, code, message, &line, &size);
    return status == SLIP_OK ? append(results, line, size) : status;
}

slip_status slip_results_close(slip_results *results)
{
    if (results == NULL)
        return SLIP_OK;
    slip_status status = SLIP_OK;
    if (results->file >= 0 && close(results->file) != 0 && errno != EINTR)
        status = failed(results, "closing it failed", errno);
    json_decref(results->finished);
    free(results->path);
    free(results);
    return status;
}
