/* The serving core: requests go in at any time, text comes out of their sinks.
 *
 *   submit -> queue -> a free slot, and K/V for all of it -> decoder -> detokenizer -> sink
 *
 * Admission is first come, first served: a request never overtakes one that was submitted before it, not even one that waits for more K/V
 * than is free. Everything happens in the caller's thread, inside of slip_serve_step() and the cancelling functions; a sink may submit and
 * cancel, but not step.
 *
 *     while (more to submit || slip_serve_busy(serve)) {
 *         while (more to submit && slip_serve_has_room(serve))
 *             submit;
 *         slip_serve_step(serve);
 *     }
 *
 * so a caller with many requests holds a few of them in memory. To drain is to submit nothing more and go on until nothing is busy;
 * slip_serve_cancel_all() gives up what is left then. A caller that waits for requests goes on calling slip_serve_step(): with
 * nothing to decode it tells the other ranks, now and then, that there is still somebody to wait for.
 */
#ifndef SLIP_COORDINATOR_SERVE_SERVE_H
#define SLIP_COORDINATOR_SERVE_SERVE_H

#include "coordinator/decoder.h"
#include "io/text/tokenizer.h"

/* How a request ended. Valid during the call. */
typedef struct {
    const char *finish_reason; /* "stop", "length"; NULL: cancelled or failed, with what there was */
    const char *error;         /* why it failed; NULL: it did not */
    const char *text;          /* all of it, never NULL; empty without a tokenizer */
    size_t text_size;
    const int32_t *tokens;        /* [completion_tokens] */
    const slip_logprob *logprobs; /* [completion_tokens, 1 + the query's top_logprobs]; NULL: not wanted */
    uint64_t admission;           /* counts admissions of the decoder from 1; 0: never admitted */
    int32_t prompt_tokens, completion_tokens;
    slip_acceptance acceptance;
    double time_to_first_token_ms, total_ms;
} slip_completion;

/* Where a request's text goes. A status other than SLIP_OK ends the step with it. */
typedef struct {
    slip_status (*text)(void *context, const char *bytes, size_t size);   /* more of it, whole characters; NULL: not wanted */
    slip_status (*end)(void *context, const slip_completion *completion); /* once, the last call */
    void *context;
} slip_sink;

/* `query` is at most as long as slip_decoder_room(). What it and `stops` point to is borrowed until the sink's end(). The text of resumed tokens comes again. */
typedef struct {
    slip_query query;
    char *const *stops;
    int32_t stop_count;
    bool special; /* special tokens are part of the text */
    slip_sink sink;
} slip_serve_request;

typedef struct slip_serve slip_serve;

/* Both are borrowed. `tokenizer` NULL: tokens only, no text and no stop strings. */
slip_status slip_serve_create(slip_decoder *decoder, const slip_tokenizer *tokenizer, slip_serve **serve);

const slip_tokenizer *slip_serve_tokenizer(const slip_serve *serve);

/* What has not ended is forgotten: no sink is called. */
void slip_serve_free(slip_serve *serve);

/* Put a request behind the others. `ticket` (may be NULL): its name for slip_serve_cancel(). */
slip_status slip_serve_submit(slip_serve *serve, const slip_serve_request *request, uint64_t *ticket);

/* End a request, or all of them, queued or running. Their sinks' end() gets no finish reason. A ticket that has ended is ignored. */
slip_status slip_serve_cancel(slip_serve *serve, uint64_t ticket);
slip_status slip_serve_cancel_all(slip_serve *serve);

/* Admit what there are slots and K/V for, and make one step for all admitted requests. */
slip_status slip_serve_step(slip_serve *serve);

bool slip_serve_busy(const slip_serve *serve);       /* a request waits or runs */
bool slip_serve_has_room(const slip_serve *serve);   /* there is a slot for one more, if not yet K/V */
uint64_t slip_serve_tokens(const slip_serve *serve); /* generated so far, over all requests */

#endif
