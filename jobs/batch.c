/* slipstream batch: a file of requests, a line of result each. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/continuation.h"
#include "io/base/file.h"
#include "io/base/hash.h"
#include "io/report/progress.h"
#include "io/openai/result.h"
#include "jobs/job.h"

/* A request being decoded, by slot. */
typedef struct {
    slip_request *request;
    slip_continuation text;
} lane;

typedef struct {
    slip_job *job;
    slip_request *requests;
    size_t count, next;          /* requests[next ..] have not been looked at */
    int32_t **ids;               /* [count] encoded prompts; NULL for those that will not run */
    size_t *id_counts;           /* [count] */
    int64_t context;
    slip_results *results;
    slip_trace *trace;
    lane *lanes;                 /* [sequences] */
    slip_progress progress;
    slip_progress_counts counts;
} batch;

/* SIGUSR1 asks to finish what is in flight, save and exit 75. Every rank gets it from mpirun; rank 0 acts. */
static volatile sig_atomic_t draining;

static void drain(int signal)
{
    (void)signal;
    draining = 1;
}

static void set_signals(void)
{
    struct sigaction action = {.sa_handler = drain, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
}

/* ---- before decoding ---- */

/* Token ids of one request; refused when it cannot run. */
static slip_status encode(batch *b, size_t i)
{
    slip_request *request = &b->requests[i];
    if (request->refusal.status_code)
        return SLIP_OK;
    slip_status status = SLIP_OK;
    int32_t vocabulary = b->job->source.model.vocabulary;
    if (request->prompt) {
        status = slip_tokenizer_encode(b->job->tokenizer, request->prompt, request->prompt_size, request->chat, &b->ids[i],
                                       &b->id_counts[i]);
    } else {
        b->id_counts[i] = request->prompt_ids_count;
        b->ids[i] = malloc(request->prompt_ids_count * sizeof(int32_t) + 1);
        if (!b->ids[i])
            return slip_fail(SLIP_ERR_FAILED, "out of memory");
        memcpy(b->ids[i], request->prompt_ids, request->prompt_ids_count * sizeof(int32_t));
    }
    for (size_t k = 0; k < b->id_counts[i] && status == SLIP_OK && !request->refusal.status_code; k++)
        if (b->ids[i][k] < 0 || b->ids[i][k] >= vocabulary)
            slip_request_refuse(request, 400, "invalid_value", "prompt", "token id %d is not below the vocabulary's %d",
                                b->ids[i][k], vocabulary);
    if (status == SLIP_OK && request->echo && !request->prompt)
        slip_request_refuse(request, 400, "unsupported", "echo", "a prompt of token ids is not echoed");
    if (status == SLIP_OK && b->id_counts[i] == 0)
        slip_request_refuse(request, 400, "invalid_value", "prompt", "the prompt is empty: there is nothing to continue");
    return status;
}

/* K/V for prompt + max_tokens is reserved at admission: a request that cannot fit is refused now. */
static void check_length(batch *b, size_t i, int64_t limit)
{
    slip_request *request = &b->requests[i];
    int64_t prompt = (int64_t)b->id_counts[i], room = limit - prompt;
    if (request->refusal.status_code)
        return;
    if (request->max_tokens == 0 && room > 0)
        request->max_tokens = (int32_t)room;
    if (room <= 0 || request->max_tokens > room)
        slip_request_refuse(request, 400, "context_length_exceeded", room <= 0 ? "prompt" : "max_tokens",
                            "%lld prompt tokens and %d to generate do not fit the context of %lld", (long long)prompt,
                            request->max_tokens, (long long)limit);
    else if (prompt + request->max_tokens > b->context)
        b->context = prompt + request->max_tokens;
}

static slip_status read_requests(batch *b)
{
    const slip_options *options = b->job->options;
    slip_request_defaults defaults = {(int32_t)options->max_tokens, options->sampling};
    if (!b->job->tokenizer)
        return slip_fail(SLIP_ERR_INPUT, "%s: the checkpoint has no tokenizer; only score --ids runs on it", options->model);
    slip_status status = slip_requests_read(options->input, &defaults, &b->requests, &b->count);
    if (status != SLIP_OK)
        return status;
    b->ids = calloc(b->count, sizeof *b->ids);
    b->id_counts = calloc(b->count, sizeof *b->id_counts);
    b->lanes = calloc((size_t)options->sequences, sizeof *b->lanes);
    if (!b->ids || !b->id_counts || !b->lanes)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %zu requests", b->count);
    int64_t limit = slip_job_context(b->job, 0);
    for (size_t i = 0; i < b->count && status == SLIP_OK; i++) {
        status = encode(b, i);
        check_length(b, i, limit);
    }
    if (b->context == 0)
        b->context = 1; /* nothing will run */
    return status;
}

/* What decides every answer beside the request: the context, which ends answers without max_tokens, and the model, known by
 * its config, its tokenizer and the beginning of every tensor. */
static slip_status hash_run(const slip_job *job, uint64_t *out)
{
    const slip_checkpoint *table = &job->source.table;
    int64_t limit = slip_job_context(job, 0);
    uint64_t hash = slip_hash_text(SLIP_HASH_START, table->config);
    hash = slip_hash_field(hash, table->tokenizer, table->tokenizer_size);
    hash = slip_hash_field(hash, &limit, sizeof limit);
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < table->dataset_count && status == SLIP_OK; i++) {
        const slip_dataset *dataset = &table->datasets[i];
        unsigned char head[4096];
        int64_t bytes = dataset->bytes < (int64_t)sizeof head ? dataset->bytes : (int64_t)sizeof head;
        status = slip_file_read_at(job->source.file, job->source.path, head, bytes, dataset->offset);
        hash = slip_hash_field(slip_hash_text(hash, dataset->name), head, (size_t)bytes);
    }
    *out = hash;
    return status;
}

static slip_status prepare(batch *b)
{
    const slip_options *options = b->job->options;
    uint64_t hash = 0;
    slip_status status = read_requests(b);
    if (status == SLIP_OK)
        status = hash_run(b->job, &hash);
    if (status == SLIP_OK)
        status = slip_results_open(options->output, options->resume, hash, b->requests, b->count, &b->results);
    if (status == SLIP_OK && options->trace)
        status = slip_trace_create(options->trace, &b->trace);
    return status;
}

/* ---- decoding ---- */

static slip_status admit(batch *b, int32_t slot, size_t i)
{
    slip_request *request = &b->requests[i];
    slip_query query = {
        .prompt = b->ids[i],
        .prompt_count = (int32_t)b->id_counts[i],
        .max_tokens = request->max_tokens,
        .sampling = request->sampling,
    };
    b->lanes[slot].request = request;
    slip_continuation_start(&b->lanes[slot].text, b->job->tokenizer, request->stops, request->stop_count);
    return slip_decoder_admit(b->job->decoder, slot, &query);
}

/* Fill free slots; refused and finished requests pass by on the way. */
static slip_status admit_all(batch *b)
{
    slip_status status = SLIP_OK;
    while (status == SLIP_OK && b->next < b->count && !draining) {
        slip_request *request = &b->requests[b->next];
        if (slip_results_has(b->results, request)) {
            b->next++;
            continue;
        }
        int32_t slot = request->refusal.status_code ? 0 : slip_decoder_vacancy(b->job->decoder);
        if (slot < 0)
            break;
        if (request->refusal.status_code) {
            status = slip_results_refuse(b->results, request);
            b->counts.done++;
            b->counts.failed++;
            b->next++;
        } else {
            status = admit(b, slot, b->next++);
        }
    }
    return status;
}

static slip_status answer(batch *b, int32_t slot)
{
    lane *l = &b->lanes[slot];
    const slip_sequence *sequence = slip_decoder_sequence(b->job->decoder, slot);
    slip_status status = slip_continuation_finish(&l->text);
    if (status != SLIP_OK)
        return status;
    const slip_request *request = l->request;
    char *echoed = NULL;
    size_t echo_size = request->echo && request->prompt ? request->prompt_size : 0;
    if (echo_size) {
        echoed = malloc(echo_size + l->text.size + 1);
        if (!echoed)
            return slip_fail(SLIP_ERR_FAILED, "out of memory");
        memcpy(echoed, request->prompt, echo_size);
        memcpy(echoed + echo_size, l->text.bytes, l->text.size);
    }
    slip_answer a = {
        .text = echoed ? echoed : l->text.bytes ? l->text.bytes : "",
        .text_size = echo_size + l->text.size,
        .finish_reason = sequence->finish_reason,
        .prompt_tokens = sequence->query.prompt_count,
        .completion_tokens = sequence->count,
        .spec_steps = sequence->acceptance.steps,
        .accepted_draft_tokens = sequence->acceptance.accepted,
        .draft_tokens = sequence->acceptance.draft_tokens,
        .time_to_first_token_ms = sequence->first_token_ms - sequence->admitted_ms,
        .total_ms = sequence->finished_ms - sequence->admitted_ms,
    };
    status = slip_results_answer(b->results, request, &a);
    free(echoed);
    b->counts.done++;
    slip_continuation_free(&l->text);
    slip_decoder_release(b->job->decoder, slot);
    return status;
}

/* New tokens to text; a stop string ends the sequence at the token that completed it. */
static slip_status digest(batch *b, int32_t slot)
{
    lane *l = &b->lanes[slot];
    const slip_sequence *sequence = slip_decoder_sequence(b->job->decoder, slot);
    slip_status status = SLIP_OK;
    if (sequence->phase == SLIP_FREE)
        return SLIP_OK;
    b->counts.tokens += sequence->fresh;
    for (int32_t i = sequence->count - sequence->fresh; i < sequence->count && status == SLIP_OK && !l->text.stopped; i++) {
        status = slip_continuation_push(&l->text, sequence->tokens[i]);
        if (l->text.stopped)
            slip_decoder_stop(b->job->decoder, slot, i + 1);
    }
    return status == SLIP_OK && sequence->phase == SLIP_FINISHED ? answer(b, slot) : status;
}

static slip_status decode(batch *b)
{
    slip_status status = admit_all(b);
    while (status == SLIP_OK && slip_decoder_busy(b->job->decoder)) {
        status = slip_decoder_step(b->job->decoder);
        for (int32_t slot = 0; slot < b->job->options->sequences && status == SLIP_OK; slot++)
            status = digest(b, slot);
        if (status == SLIP_OK)
            status = admit_all(b);
        slip_progress_update(&b->progress, &b->counts, slip_now_ms() * 1e-3);
    }
    return status;
}

/* Requests that a signal kept from running; with --resume they are taken up. */
static slip_status say_never_ran(batch *b)
{
    slip_status status = SLIP_OK;
    size_t left = 0;
    for (; b->next < b->count && status == SLIP_OK; b->next++)
        if (!slip_results_has(b->results, &b->requests[b->next])) {
            status = slip_results_never_ran(b->results, &b->requests[b->next], "interrupted",
                                            "the run was stopped by a signal; run again with --resume");
            left++;
        }
    if (status == SLIP_OK && left > 0)
        status = slip_fail(SLIP_ERR_INTERRUPTED, "stopped on a signal with %zu requests left: run again with --resume", left);
    return status;
}

static void free_batch(batch *b)
{
    for (size_t i = 0; b->ids && i < b->count; i++)
        free(b->ids[i]);
    for (int64_t slot = 0; b->lanes && slot < b->job->options->sequences; slot++)
        slip_continuation_free(&b->lanes[slot].text);
    free(b->ids);
    free(b->id_counts);
    free(b->lanes);
    slip_requests_free(b->requests, b->count);
    if (b->trace)
        slip_trace_free(b->trace);
}

static size_t count_finished(const batch *b)
{
    size_t finished = 0;
    for (size_t i = 0; i < b->count; i++)
        finished += slip_results_has(b->results, &b->requests[i]);
    return finished;
}

static slip_status run(batch *b)
{
    FILE *stream = b->job->options->quiet ? NULL : stderr;
    size_t finished = count_finished(b);
    b->counts.done = finished;
    slip_progress_start(&b->progress, stream, b->count, finished, slip_now_ms() * 1e-3);
    slip_status status = decode(b);
    slip_status ended = status == SLIP_OK ? slip_job_end(b->job) : status;
    slip_progress_finish(&b->progress, &b->counts, slip_now_ms() * 1e-3);
    if (ended == SLIP_OK && b->trace)
        ended = slip_trace_write(b->trace);
    if (ended == SLIP_OK)
        ended = slip_job_report(b->job, NULL, 0);
    return ended == SLIP_OK ? say_never_ran(b) : ended;
}

slip_status slip_batch(slip_job *job)
{
    batch b = {.job = job};
    bool coordinator = slip_comm_rank(job->comm) == 0;
    set_signals();
    slip_status status = slip_job_open(job);
    if (status != SLIP_OK)
        return status;
    if (coordinator)
        status = prepare(&b);
    status = slip_job_start(job, status, (int32_t)job->options->sequences, b.context, b.trace);
    if (coordinator && status == SLIP_OK)
        status = run(&b);
    slip_status closed = slip_results_close(b.results);
    if (status == SLIP_OK)
        status = closed;
    free_batch(&b);
    return status;
}
