/* OpenAI batch lines out. A line is appended whole, in one write, and synced: an interrupted run loses only what was in
 * flight. With resume, a torn last line is cut off and finished requests are known by custom_id and hash.
 */
#ifndef SLIP_IO_RESULT_H
#define SLIP_IO_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/request.h"
#include "io/status.h"

/* What became of a request that ran. Counts are tokens; times are milliseconds. */
typedef struct {
    const char *text;
    size_t text_size;
    const char *finish_reason;    /* "stop" or "length" */
    int32_t prompt_tokens, completion_tokens;
    int64_t spec_steps, accepted_draft_tokens, draft_tokens;
    double time_to_first_token_ms, total_ms;
} slip_answer;

typedef struct slip_results slip_results;

/* Open `path` for appending ("-": standard output). Without `resume` an existing non-empty file is SLIP_ERR_INPUT (nothing
 * is ever overwritten); with it, the file is repaired and read back. `run_hash` identifies model and defaults: a
 * finished line counts only if it carries the same. */
slip_status slip_results_open(const char *path, bool resume, uint64_t run_hash, slip_results **results);

/* Was this request finished in the file that was resumed? */
bool slip_results_has(const slip_results *results, const slip_request *request);

/* Append one line and sync it. A full disk: SLIP_ERR_FAILED, and the torn tail is cut off again. */
slip_status slip_results_answer(slip_results *results, const slip_request *request, const slip_answer *answer);
slip_status slip_results_refuse(slip_results *results, const slip_request *request); /* response 4xx, error null */
slip_status slip_results_never_ran(slip_results *results, const slip_request *request, const char *code,
                                   const char *message);                      /* response null, error set */
slip_status slip_results_close(slip_results *results);

#endif
