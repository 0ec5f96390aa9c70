/* Reading results back, so that a run can go on. Private to io/openai. */
#ifndef SLIP_IO_OPENAI_RESULT_RESUME_H
#define SLIP_IO_OPENAI_RESULT_RESUME_H

#include "io/openai/result/unfinished.h"

typedef struct {
    bool *flags; /* [requests], owned: which of them are finished */
    slip_resumed resumed;
} slip_finished;

/* Check that `path` holds results of these requests under `run_hash`, then, if it `may_repair`, repair it: a torn last line is cut off; lines of
 * requests that never ran, lines that answer a request again and blank ones are taken out. A missing file is an empty one. What
 * `unfinished` holds must be of these requests, too; what has been answered since is taken out of it. The caller frees finished->flags. SLIP_ERR_INPUT: the file is not ours to go on with, and is left as it was. */
slip_status slip_results_resume(const char *path, uint64_t run_hash, slip_request_file *requests, slip_unfinished *unfinished,
                                bool may_repair, slip_finished *finished);

#endif
