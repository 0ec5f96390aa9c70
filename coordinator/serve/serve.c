#include "coordinator/serve/serve.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/serve/detokenizer.h"
#include "coordinator/serve/queue.h"

/* A request in a slot of the decoder. */
typedef struct {
    bool used;
    slip_queued item;
    slip_detokenizer text;
    size_t shown; /* bytes of text that the sink has */
} lane;

struct slip_serve {
    slip_decoder *decoder;
    const slip_tokenizer *tokenizer;
    slip_queue queue;
    lane *lanes; /* [slots] */
    int32_t slots, running;
    uint64_t last_ticket, tokens;
};

slip_status slip_serve_create(slip_decoder *decoder, const slip_tokenizer *tokenizer, slip_serve **out)
{
    slip_serve *serve = calloc(1, sizeof *serve);
    int32_t slots = slip_decoder_slots(decoder);
    if (serve)
        *serve = (slip_serve){.decoder = decoder, .tokenizer = tokenizer, .slots = slots, .lanes = calloc((size_t)slots, sizeof(lane))};
    if (!serve || !serve->lanes) {
        free(serve);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d requests at once", slots);
    }
    *out = serve;
    return SLIP_OK;
}

const slip_tokenizer *slip_serve_tokenizer(const slip_serve *serve)
{
    return serve->tokenizer;
}

void slip_serve_free(slip_serve *serve)
{
    for (int32_t slot = 0; slot < serve->slots; slot++)
        slip_detokenizer_free(&serve->lanes[slot].text);
    slip_queue_free(&serve->queue);
    free(serve->lanes);
    free(serve);
}

slip_status slip_serve_submit(slip_serve *serve, const slip_serve_request *request, uint64_t *ticket)
{
    slip_queued item = {*request, serve->last_ticket + 1};
    slip_status status = slip_queue_push(&serve->queue, &item);
    if (status != SLIP_OK)
        return status;
    serve->last_ticket = item.ticket;
    if (ticket)
        *ticket = item.ticket;
    return SLIP_OK;
}

bool slip_serve_busy(const slip_serve *serve)
{
    return serve->running > 0 || serve->queue.count > 0;
}

bool slip_serve_has_room(const slip_serve *serve)
{
    return serve->queue.count < (size_t)(serve->slots - serve->running);
}

uint64_t slip_serve_tokens(const slip_serve *serve)
{
    return serve->tokens;
}

/* ---- admission ---- */

static slip_status admit(slip_serve *serve, int32_t slot)
{
    lane *l = &serve->lanes[slot];
    *l = (lane){.used = true, .item = slip_queue_pop(&serve->queue)};
    const slip_serve_request *request = &l->item.request;
    slip_status status = slip_decoder_admit(serve->decoder, slot, &request->query);
    slip_detokenizer_start(&l->text, serve->tokenizer, request->stops, request->stop_count);
    l->text.special = request->special;
    serve->running++;
    for (int32_t i = 0; serve->tokenizer && i < request->query.resumed_count && status == SLIP_OK; i++)
        status = slip_detokenizer_push(&l->text, request->query.resumed[i]);
    return status;
}

/* A slot for whoever is next, or -1: nobody waits, or there is no slot or no K/V for them yet. */
static int32_t next_slot(const slip_serve *serve)
{
    return serve->queue.count > 0 ? slip_decoder_vacancy(serve->decoder, &slip_queue_first(&serve->queue)->request.query) : -1;
}

static slip_status admit_all(slip_serve *serve)
{
    slip_status status = SLIP_OK;
    for (int32_t slot; status == SLIP_OK && (slot = next_slot(serve)) >= 0;)
        status = admit(serve, slot);
    return status;
}

/* ---- what a step brought ---- */

/* New tokens to text. A stop string ends the sequence at the token that completed it. */
static slip_status detokenize(slip_serve *serve, int32_t slot)
{
    lane *l = &serve->lanes[slot];
    const slip_sequence *sequence = slip_decoder_sequence(serve->decoder, slot);
    slip_status status = SLIP_OK;
    for (int32_t i = sequence->count - sequence->fresh; i < sequence->count && status == SLIP_OK && !l->text.stopped; i++) {
        status = slip_detokenizer_push(&l->text, sequence->tokens[i]);
        if (l->text.stopped)
            slip_decoder_stop(serve->decoder, slot, i + 1);
    }
    return status;
}

static slip_status show(lane *l)
{
    size_t size = l->text.safe - l->shown;
    const slip_sink *sink = &l->item.request.sink;
    if (size == 0 || !sink->text)
        return SLIP_OK;
    slip_status status = sink->text(sink->context, l->text.bytes + l->shown, size);
    l->shown = l->text.safe;
    return status;
}

/* Tell the sink, and free the slot whatever it says. */
static slip_status end_lane(slip_serve *serve, int32_t slot, const char *finish_reason)
{
    lane *l = &serve->lanes[slot];
    const slip_sequence *sequence = slip_decoder_sequence(serve->decoder, slot);
    char error[160];
    if (sequence->broken_step)
        snprintf(error, sizeof error, "a logit is not finite: step %" PRIu64 ", after %d tokens of the prompt and %d of the answer",
                 sequence->broken_step, sequence->query.prompt_count, sequence->count);
    const slip_completion completion = {
        .finish_reason = sequence->broken_step ? NULL : finish_reason,
        .error = sequence->broken_step ? error : NULL,
        .text = l->text.bytes ? l->text.bytes : "",
        .text_size = l->text.size,
        .tokens = sequence->tokens,
        .logprobs = sequence->logprobs,
        .admission = sequence->turn,
        .prompt_tokens = sequence->query.prompt_count,
        .completion_tokens = sequence->count,
        .acceptance = sequence->acceptance,
        .time_to_first_token_ms = sequence->first_token_ms > 0 ? sequence->first_token_ms - sequence->admitted_ms : 0,
        .total_ms = sequence->finished_ms - sequence->admitted_ms,
    };
    slip_status status = l->item.request.sink.end(l->item.request.sink.context, &completion);
    slip_detokenizer_free(&l->text);
    slip_decoder_release(serve->decoder, slot);
    l->used = false;
    serve->running--;
    return status;
}

static slip_status digest(slip_serve *serve, int32_t slot)
{
    lane *l = &serve->lanes[slot];
    if (!l->used)
        return SLIP_OK;
    const slip_sequence *sequence = slip_decoder_sequence(serve->decoder, slot);
    slip_status status = serve->tokenizer ? detokenize(serve, slot) : SLIP_OK;
    serve->tokens += (uint64_t)sequence->fresh; /* without those behind a stop string */
    bool ends = sequence->phase == SLIP_FINISHED;
    if (status == SLIP_OK && ends)
        status = slip_detokenizer_finish(&l->text);
    if (status == SLIP_OK)
        status = show(l);
    ends &= l->used; /* the sink may have cancelled it */
    /* Bytes that the last token left unfinished may complete a stop string. */
    return status == SLIP_OK && ends ? end_lane(serve, slot, l->text.stopped ? "stop" : sequence->finish_reason) : status;
}

slip_status slip_serve_step(slip_serve *serve)
{
    slip_status status = admit_all(serve);
    if (status == SLIP_OK && serve->running == 0)
        return slip_decoder_idle(serve->decoder);
    if (status == SLIP_OK)
        status = slip_decoder_step(serve->decoder);
    for (int32_t slot = 0; slot < serve->slots && status == SLIP_OK; slot++)
        status = digest(serve, slot);
    return status;
}

/* ---- ends that the model did not find ---- */

static slip_status give_up_queued(const slip_queued *item)
{
    const slip_query *query = &item->request.query;
    const slip_completion never = {
        .text = "", .tokens = query->resumed, .prompt_tokens = query->prompt_count, .completion_tokens = query->resumed_count};
    return item->request.sink.end(item->request.sink.context, &never);
}

static slip_status give_up_lane(slip_serve *serve, int32_t slot)
{
    slip_decoder_stop(serve->decoder, slot, INT32_MAX);
    return end_lane(serve, slot, NULL);
}

slip_status slip_serve_cancel(slip_serve *serve, uint64_t ticket)
{
    slip_queued item;
    if (slip_queue_remove(&serve->queue, ticket, &item))
        return give_up_queued(&item);
    for (int32_t slot = 0; slot < serve->slots; slot++)
        if (serve->lanes[slot].used && serve->lanes[slot].item.ticket == ticket)
            return give_up_lane(serve, slot);
    return SLIP_OK;
}

slip_status slip_serve_cancel_all(slip_serve *serve)
{
    slip_status status = SLIP_OK;
    for (int32_t slot = 0; slot < serve->slots && status == SLIP_OK; slot++)
        if (serve->lanes[slot].used)
            status = give_up_lane(serve, slot);
    while (serve->queue.count > 0 && status == SLIP_OK) {
        slip_queued item = slip_queue_pop(&serve->queue);
        status = give_up_queued(&item);
    }
    return status;
}
