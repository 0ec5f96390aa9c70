/* OpenAI batch lines out. A line is appended whole, in one write, and synced: an interrupted run loses only what was in
 * flight. With resume, a torn last line is cut off and finished requests are known by custom_id and hash. One run at a time
 * writes a file (io/base/file/lock.h).
 *
 * A line is {id, custom_id, response, error}; ids are made from hashes, so that the same run writes the same ids:
 *   answered    response {status_code 200, request_id, body {... choices, usage, slipstream}}, error null
 *   refused     response {status_code 4xx, request_id, body {error {message, type, param, code}, slipstream}}, error null
 *   never ran   response null, error {code, message}
 * body.slipstream {request_hash, run_hash, ...} is what resume goes by. Answered and refused requests are finished; a request
 * that never ran is not: its line is taken out on resume, so that in the end as many lines come out as went in.
 */
#ifndef SLIP_IO_OPENAI_RESULT_RESULT_H
#define SLIP_IO_OPENAI_RESULT_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"
#include "io/openai/request.h"
#include "io/openai/request_file.h"

/* The natural logarithm of a token's probability, and its bytes. */
typedef struct {
    const char *bytes;
    size_t size;
    double logprob;
} slip_answer_logprob;

/* One choice of a request that ran. Counts are tokens; times are milliseconds. */
typedef struct {
    const char *text; /* UTF-8; a chat's is taken apart: slip_request_read_answer() */
    size_t text_size;
    const char *finish_reason; /* "stop" or "length"; NULL: it was in flight when its run ended */
    uint64_t admission;        /* counts what the decoder admitted, from 1 */
    int32_t prompt_tokens, completion_tokens, reasoning_tokens;
    const int32_t *prompt_ids, *ids;     /* the tokens so counted */
    const slip_answer_logprob *logprobs; /* [completion_tokens, 1 + the request's top_logprobs], each token before the likeliest ones; a
                                            NULL among those: there are no more. For requests with logprobs */
    int64_t spec_steps, accepted_draft_tokens, draft_tokens;
    double time_to_first_token_ms, total_ms;
} slip_answer;

/* What an earlier run had of a request that was in flight when it ended: all choices, as far as they had come. */
typedef struct {
    slip_answer *choices; /* [count], owned, and so are their texts and ids */
    int32_t count;        /* 0: it had nothing */
} slip_begun;

void slip_begun_free(slip_begun *begun);

typedef struct slip_results slip_results;

/* What a resumed file held. */
typedef struct {
    int64_t finished;        /* requests */
    int64_t refused;         /* how many of them were refused */
    int64_t duplicates;      /* lines that answered a request again, and have been taken out: two runs had written the file */
    int64_t first_duplicate; /* the number of the first of them */
    int64_t begun;           /* requests that are gone on with where the run before was stopped */
    int64_t damaged;         /* lines of OUT.unfinished that cannot be read, so that their requests begin again */
    int64_t first_damaged;   /* the number of the first of them */
} slip_resumed;

/* What slip_results_open() would say, but for who else writes there: nothing is made or repaired. `requests`: NULL where they are not known yet,
 * nor what of them the file holds. */
slip_status slip_results_check(const char *path, bool resume, uint64_t run_hash, slip_request_file *requests);

/* Open `path` for appending ("-": standard output, which cannot be resumed) and lock it. Without `resume` an existing
 * non-empty file is SLIP_ERR_INPUT (nothing is ever overwritten). With it, the file is read back, checked and then repaired.
 * It must hold results of these `requests`, which are read and rewound, under the same `run_hash` (of the model and whatever
 * else decides every answer) and nothing else: a foreign line, another run's, or a request that has changed since is
 * SLIP_ERR_INPUT, the file being left as it was. The caller closes *results. */
slip_status slip_results_open(const char *path, bool resume, uint64_t run_hash, slip_request_file *requests, slip_results **results);

const slip_resumed *slip_results_resumed(const slip_results *results);

/* Was the request at this place of the file (slip_request_file_index) finished in the file that was resumed? */
bool slip_results_has(const slip_results *results, int64_t index);

/* Append one line and sync it; refusals, which may come by the thousand and cost nothing to make again, are synced together twice a second,
 * with the next answer, and by slip_results_close() at the latest. `answers` has slip_request_choices() elements. A full disk or a limit on file sizes:
 * SLIP_ERR_FAILED, and the torn tail is cut off again. (A write beyond RLIMIT_FSIZE or into a closed pipe raises SIGXFSZ or
 * SIGPIPE: the program ignores both.) */
slip_status slip_results_answer(slip_results *results, const slip_request *request, const slip_answer *answers);
slip_status slip_results_refuse(slip_results *results, const slip_request *request);

/* The same for requests that never ran, of which there may be many: they are written and synced together, by
 * slip_results_close() at the latest. */
slip_status slip_results_never_ran(slip_results *results, const char *custom_id, const char *code, const char *message);

/* What the resumed run had of a request, which slip_begun_free() takes back. */
slip_status slip_results_begun(const slip_results *results, const slip_request *request, slip_begun *begun);

/* A request that was in flight and is given up: it never ran, but what there is of it [slip_request_choices()] is kept for a run that
 * resumes. slip_results_save() puts all that was kept on the disk, as OUT.unfinished; the file goes when nothing of it is left. Where the
 * output is no regular file nothing is kept, and nothing of a request with logprobs, which begins again. */
slip_status slip_results_give_up(slip_results *results, const slip_request *request, const slip_answer *answers, const char *code,
                                 const char *message);
slip_status slip_results_save(slip_results *results);

/* Frees *results in any case; NULL is fine. A network file system may report a failed write only here. */
slip_status slip_results_close(slip_results *results);

#endif
