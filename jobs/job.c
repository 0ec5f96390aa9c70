#include "jobs/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/plan.h"

enum { PROMPT_CHUNK = 64 }; /* prompt tokens of a sequence in one step */

static bool is_coordinator(const slip_job *job)
{
    return slip_comm_rank(job->comm) == 0;
}

static const slip_executor_kind *executor_kind(void)
{
    return &slip_executor_cpu;
}

slip_status slip_job_open(slip_job *job)
{
    slip_comm_set_deadline(job->comm, job->options->deadline);
    if (job->options->device == SLIP_DEVICE_CUDA)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: this build computes on CPUs only");
    slip_status status = slip_source_open(job->comm, job->options->model, &job->source);
    if (status != SLIP_OK)
        return status;
    const slip_checkpoint *table = &job->source.table;
    if (is_coordinator(job) && table->tokenizer)
        status = slip_tokenizer_parse(table->tokenizer, table->tokenizer_size, job->options->model,
                                      job->source.model.vocabulary, &job->tokenizer);
    return slip_comm_agree(job->comm, status);
}

int64_t slip_job_context(const slip_job *job, int64_t wanted)
{
    int64_t most = job->source.model.max_positions;
    int64_t context = job->options->context ? job->options->context : wanted ? wanted : most;
    return context < most ? context : most;
}

/* Before anything large is allocated. */
static void print_estimate(const slip_job *job, int32_t workers, const slip_rank_options *options)
{
    slip_memory memory;
    slip_plan_memory(&job->source, workers, options->slices, &options->limits, &memory);
    fprintf(stderr, "# memory           %.1f MB of weights and %.1f MB of K/V a rank for %d sequences of %lld tokens%s\n",
            (double)memory.weights * 1e-6, (double)memory.caches * 1e-6, options->limits.sequences,
            (long long)options->limits.context, options->taps ? "; the draft comes on top on rank 0" : "");
}

static slip_status start_decoder(slip_job *job, const slip_decoder_options *decoding, slip_trace *trace)
{
    slip_status status = SLIP_OK;
    if (job->source.model.has_draft && !job->options->no_draft)
        status = slip_draft_create(&job->source, executor_kind(), &job->limits, &job->draft);
    return status != SLIP_OK ? status
                             : slip_decoder_create(job->rank, job->draft, &job->source.model, &job->limits, decoding, trace,
                                                   &job->decoder);
}

slip_status slip_job_start(slip_job *job, slip_status mine, int32_t sequences, int64_t context, slip_trace *trace)
{
    struct { int32_t sequences; int64_t context; } sizes = {sequences, context};
    slip_status status = slip_comm_agree(job->comm, mine);
    if (status == SLIP_OK)
        status = slip_comm_broadcast(job->comm, &sizes, sizeof sizes);
    if (status != SLIP_OK)
        return status;
    slip_decoder_options decoding = {
        .sequences = sizes.sequences,
        .chunk = PROMPT_CHUNK,
        .always_draft = job->options->always_draft || job->options->acceptance > 0,
        .forced_acceptance = job->options->acceptance,
    };
    job->limits = slip_decoder_limits(&job->source.model, &decoding, sizes.context);
    if (job->limits.rows > SLIP_MAX_ROWS)
        return slip_fail(SLIP_ERR_INPUT, "--sequences %d: blocks of %d tokens make more than %d rows a step", sizes.sequences,
                         job->source.model.draft.block, SLIP_MAX_ROWS);
    bool dedicated = job->options->coordinator == SLIP_COORDINATOR_DEDICATED;
    int32_t workers = slip_comm_ranks(job->comm) - dedicated, slices = (int32_t)job->options->expert_slices;
    slip_rank_options options = {
        .kind = executor_kind(),
        .slices = slices ? slices : slip_plan_slices(&job->source.model, workers),
        .dedicated = dedicated,
        .taps = job->source.model.has_draft && !job->options->no_draft,
        .limits = job->limits,
    };
    if (is_coordinator(job) && !job->options->quiet)
        print_estimate(job, workers, &options);
    status = slip_rank_create(job->comm, &job->source, &options, &job->rank);
    if (status != SLIP_OK)
        return status;
    status = slip_comm_agree(job->comm, is_coordinator(job) ? start_decoder(job, &decoding, trace) : SLIP_OK);
    if (status != SLIP_OK)
        return status;
    job->running = true;
    if (is_coordinator(job))
        return SLIP_OK;
    status = slip_rank_serve(job->rank);
    job->running = status != SLIP_OK;
    return status;
}

slip_status slip_job_end(slip_job *job)
{
    slip_status status = slip_rank_end(job->rank);
    job->running = status != SLIP_OK;
    return status;
}

void slip_job_close(slip_job *job)
{
    if (job->decoder)
        slip_decoder_free(job->decoder);
    if (job->draft)
        slip_draft_free(job->draft);
    if (job->rank)
        slip_rank_free(job->rank);
    if (job->tokenizer)
        slip_tokenizer_free(job->tokenizer);
    slip_source_close(&job->source);
}

slip_status slip_job_encode(const slip_job *job, const char *text, size_t size, int special, int32_t **ids, size_t *count)
{
    if (!job->tokenizer)
        return slip_fail(SLIP_ERR_INPUT, "%s: the checkpoint has no tokenizer; only score --ids runs on it", job->options->model);
    slip_status status = slip_tokenizer_encode(job->tokenizer, text, size, special, ids, count);
    if (status == SLIP_OK && *count == 0) {
        free(*ids);
        return slip_fail(SLIP_ERR_INPUT, "the text is empty: there is nothing to continue");
    }
    return status;
}

static const char *rank_host(const void *context, int rank)
{
    return slip_comm_host(context, rank);
}

slip_status slip_job_report(slip_job *job, const char *emulated, const char *text, size_t text_size)
{
    slip_figures *figures = slip_decoder_figures(job->decoder);
    if (job->options->quiet && !job->options->json)
        return SLIP_OK;
    figures->stream_ceiling = slip_figures_ceiling();
    slip_run_facts facts = {
        .argc = job->argc,
        .argv = job->argv,
        .device = executor_kind()->name,
        .model = job->options->model,
        .ranks = slip_comm_ranks(job->comm),
        .host = rank_host,
        .context = job->comm,
        .expert_slices = slip_rank_placement(job->rank)->slices,
        .emulated = {emulated},
        .emulated_count = emulated != NULL,
    };
    if (!job->options->quiet)
        slip_figures_print(figures, &facts, stderr);
    if (!job->options->json)
        return SLIP_OK;
    json_t *object = slip_figures_json(figures, &facts);
    if (object && text)
        json_object_set_new(object, "text", json_stringn(text, text_size));
    int written = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;
    json_decref(object);
    if (written < 0 || putchar('\n') == EOF || fflush(stdout) != 0)
        return slip_fail(SLIP_ERR_FAILED, "the figures could not be written to standard output");
    return SLIP_OK;
}
