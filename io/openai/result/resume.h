/* Reading results back, so that a run can go on. Private to io/openai. */
#ifndef SLIP_IO_OPENAI_RESULT_RESUME_H
#define SLIP_IO_OPENAI_RESULT_RESUME_H

#include "io/openai/result/result.h"

typedef struct {
    bool *flags; /* [requests], owned: which of them are finished */
    slip_resumed resumed;
} slip_finished;

/* Check that `path` holds results of these requests under `run_hash`, then repair it: a torn last line is cut off; lines of
 * requests that never ran, and lines that answer a request again, are taken out. A missing file is an empty one. The caller
 * frees finished->flags. SLIP_ERR_INPUT: the file is not ours to go on with, and is left as it was. */
slip_status slip_results_resume(const char *path, uint64_t run_hash, slip_request_file *requests, slip_finished *finished);

/* Sync the folder that holds `path`, so that a new name in it survives a crash. Some file systems cannot;
 * none needs to be asked twice. */
void slip_results_sync_folder(const char *path);

#endif
