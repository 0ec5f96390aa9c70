/* slipstream batch: a file of requests, a line of result each. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/admission.h"
#include "coordinator/serve.h"
#include "io/base/file.h"
#include "io/base/hash.h"
#include "io/report/progress.h"
#include "io/openai/result.h"
#include "jobs/job.h"

typedef struct {
    slip_job *job;
    slip_request *requests;
    size_t count, next;          /* requests[next ..] have not been looked at */
    int32_t **ids;               /* [count] encoded prompts; NULL for those that will not run */
    size_t *id_counts;           /* [count] */
    int64_t context;             /* the longest that a request needs */
    slip_results *results;
    slip_trace *trace;
    struct answer_sink *sinks;   /* [count] */
    slip_serve *serve;
    slip_progress progress;
    slip_progress_counts counts;
} batch;

/* Where an answer goes: the context of its sink. */
typedef struct answer_sink {
    batch *batch;
    const slip_request *request;
} answer_sink;

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

static slip_status prepare_request(batch *b, size_t i, int64_t limit)
{
    slip_request *request = &b->requests[i];
    slip_status status = slip_admission_prepare(b->job->tokenizer, b->job->source.model.vocabulary, limit, request, &b->ids[i],
                                                &b->id_counts[i]);
    int64_t needed = b->ids[i] ? (int64_t)b->id_counts[i] + request->max_tokens : 0;
    b->context = needed > b->context ? needed : b->context;
    return status;
}

static slip_status read_requests(batch *b)
{
    const slip_options *options = b->job->options;
    slip_request_defaults defaults = {(int32_t)options->max_tokens, options->sampling, b->job->source.model.family};
    if (!b->job->tokenizer)
        return slip_fail(SLIP_ERR_INPUT, "%s: the checkpoint has no tokenizer; only score --ids runs on it", options->model);
    slip_status status = slip_requests_read(options->input, &defaults, &b->requests, &b->count);
    if (status != SLIP_OK)
        return status;
    b->ids = calloc(b->count, sizeof *b->ids);
    b->id_counts = calloc(b->count, sizeof *b->id_counts);
    b->sinks = calloc(b->count, sizeof *b->sinks);
    if (!b->ids || !b->id_counts || !b->sinks)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %zu requests", b->count);
    int64_t limit = slip_job_context(b->job, 0);
    for (size_t i = 0; i < b->count && status == SLIP_OK; i++)
        status = prepare_request(b, i, limit);
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

/* The text of an answer that echoes its prompt: both, one behind the other. */
static char *echo(const slip_request *request, const slip_completion *c)
{
    char *both = malloc(request->prompt_size + c->text_size + 1);
    if (both) {
        memcpy(both, request->prompt, request->prompt_size);
        memcpy(both + request->prompt_size, c->text, c->text_size);
    }
    return both;
}

static slip_status answer(void *context, const slip_completion *c)
{
    const answer_sink *sink = context;
    slip_answer a = {
        .text = c->text,
        .text_size = c->text_size,
        .finish_reason = c->finish_reason,
        .prompt_tokens = c->prompt_tokens,
        .completion_tokens = c->completion_tokens,
        .spec_steps = c->acceptance.steps,
        .accepted_draft_tokens = c->acceptance.accepted,
        .draft_tokens = c->acceptance.draft_tokens,
        .time_to_first_token_ms = c->time_to_first_token_ms,
        .total_ms = c->total_ms,
    };
    char *both = NULL;
    if (sink->request->echo) {
        if (!(both = echo(sink->request, c)))
            return slip_fail(SLIP_ERR_FAILED, "out of memory for an answer of %zu bytes", c->text_size);
        a.text = both;
        a.text_size += sink->request->prompt_size;
    }
    slip_status status = slip_results_answer(sink->batch->results, sink->request, &a);
    free(both);
    sink->batch->counts.done++;
    return status;
}

static slip_status submit(batch *b, size_t i)
{
    const slip_request *request = &b->requests[i];
    b->sinks[i] = (answer_sink){b, request};
    const slip_serve_request served = {
        .query = {
            .prompt = b->ids[i],
            .prompt_count = (int32_t)b->id_counts[i],
            .max_tokens = request->max_tokens,
            .sampling = request->sampling,
        },
        .stops = request->stops,
        .stop_count = request->stop_count,
        .sink = {.end = answer, .context = &b->sinks[i]},
    };
    return slip_serve_submit(b->serve, &served, NULL);
}

/* As many as have room. Refused and finished requests pass by on the way. */
static slip_status submit_all(batch *b)
{
    slip_status status = SLIP_OK;
    while (status == SLIP_OK && b->next < b->count && !draining) {
        const slip_request *request = &b->requests[b->next];
        if (slip_results_has(b->results, request)) {
            b->next++;
            continue;
        }
        if (!request->refusal.status_code) {
            if (!slip_serve_has_room(b->serve))
                break;
            status = submit(b, b->next++);
            continue;
        }
        status = slip_results_refuse(b->results, request);
        b->counts.done++;
        b->counts.failed++;
        b->next++;
    }
    return status;
}

static slip_status decode(batch *b)
{
    slip_status status = submit_all(b);
    while (status == SLIP_OK && slip_serve_busy(b->serve)) {
        status = slip_serve_step(b->serve);
        if (status == SLIP_OK)
            status = submit_all(b);
        b->counts.tokens = slip_serve_tokens(b->serve);
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
    if (b->serve)
        slip_serve_free(b->serve);
    free(b->ids);
    free(b->id_counts);
    free(b->sinks);
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
    slip_status status = slip_serve_create(b->job->decoder, b->job->tokenizer, &b->serve);
    if (status == SLIP_OK)
        status = decode(b);
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
