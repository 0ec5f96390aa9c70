/* OUT.unfinished: answers that were in flight when a drain's bound ended a run, beside its results. Private to io/openai.
 *
 * A line holds a request's choices as far as they had come, and a checksum of itself:
 *   {"crc32c": "...", "unfinished": {custom_id, request_hash, run_hash, choices: [{text, tokens, finish_reason, ...}]}}
 * A request is known by custom_id and hash, as in the results. Tokens are the state: they are read again behind the prompt, and sampling goes
 * on at the position behind them. The text is for people. The file appears as a whole, and is removed when nothing is left to go on with; a
 * run that is killed leaves it as it found it, and what it has answered since is passed over by the next one.
 */
#ifndef SLIP_IO_OPENAI_RESULT_UNFINISHED_H
#define SLIP_IO_OPENAI_RESULT_UNFINISHED_H

#include "io/base/hash/hash.h"
#include "io/openai/result/result.h"

typedef struct slip_unfinished slip_unfinished;

/* Read what stands beside the results at `output`; `run_hash` is theirs. The caller closes *unfinished. SLIP_ERR_INPUT: it is there
 * without `resume`, or is no such file, or is another run's. Damaged lines are passed over and counted. */
slip_status slip_unfinished_open(const char *output, bool resume, uint64_t run_hash, slip_unfinished **unfinished);
void slip_unfinished_close(slip_unfinished *unfinished);

/* Requests that it holds; lines that were damaged, and the number of the first. */
int64_t slip_unfinished_count(const slip_unfinished *unfinished);
int64_t slip_unfinished_damaged(const slip_unfinished *unfinished, int64_t *first);

/* Does it hold a request of this name? Of this key: then the request is in the input. */
bool slip_unfinished_named(const slip_unfinished *unfinished, const char *custom_id);
void slip_unfinished_match(slip_unfinished *unfinished, slip_hash128 key);

/* SLIP_ERR_INPUT if it holds a request that slip_unfinished_match() was not told of. */
slip_status slip_unfinished_check(const slip_unfinished *unfinished);

/* What it holds of a request, or no choices; slip_begun_free() takes them back. */
slip_status slip_unfinished_find(const slip_unfinished *unfinished, const slip_request *request, slip_begun *begun);

/* Put a request in, in place of what it holds of it; or take it out. The file follows with slip_unfinished_save(). */
slip_status slip_unfinished_put(slip_unfinished *unfinished, const slip_request *request, const slip_answer *answers);
void slip_unfinished_drop(slip_unfinished *unfinished, slip_hash128 key);

/* Make the file what this holds. Nothing is done if nothing has changed. */
slip_status slip_unfinished_save(slip_unfinished *unfinished);

#endif
