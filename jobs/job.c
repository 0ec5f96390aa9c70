#include "jobs/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/device.h"
#include "ranks/model/build.h"
#include "ranks/model/family.h"
#include "ranks/plan.h"

enum { PROMPT_CHUNK = 64 }; /* prompt tokens of a sequence in one step */

static bool is_coordinator(const slip_job *job)
{
    return slip_comm_rank(job->comm) == 0;
}

/* --shape: a model without a checkpoint. */
static slip_status open_shape(slip_job *job)
{
    int32_t layers = (int32_t)job->options->layers;
    slip_model model;
    slip_shape_make(job->options->shape, &model);
    if (layers > model.layers)
        return slip_fail(SLIP_ERR_INPUT, "--layers %d: the shape has %d", layers, model.layers);
    int length = snprintf(job->shape_name, sizeof job->shape_name, "%s", job->options->shape);
    if (layers > 0 && layers < model.layers) {
        snprintf(job->shape_name + length, sizeof job->shape_name - (size_t)length, " (%d of %d layers)", layers, model.layers);
        slip_shape_cut(&model, layers);
    }
    slip_source_shape(&model, &job->source);
    return SLIP_OK;
}

/* The longest that ranks on GPUs wait for a draft. */
static const double DRAFT_S = 0.02;

/* Each rank looks at its own machine: what rank 0 chose holds. */
static slip_status choose_device(slip_job *job)
{
    slip_comm *comm = job->comm;
    char first[SLIP_GPU_NAME] = "";
    bool cuda = false;
    if (job->options->device != SLIP_DEVICE_CPU)
        slip_cuda_first(first);
    slip_status status = slip_comm_set_gpu(comm, first);
    if (status == SLIP_OK)
        status = slip_device_choose(job->options, slip_comm_ranks(comm), slip_comm_ranks_here(comm), &job->kind);
    status = slip_comm_agree(comm, status);
    if (status != SLIP_OK)
        return status;
    cuda = job->kind == &slip_executor_cuda;
    status = slip_comm_broadcast(comm, &cuda, sizeof cuda);
    if (status == SLIP_OK && cuda && job->kind != &slip_executor_cuda)
        status = slip_fail(SLIP_ERR_INPUT, "rank 0 computes on a GPU, and this rank has none for itself: say --device cpu");
    if (!cuda)
        job->kind = &slip_executor_cpu;
    else
        slip_comm_set_polling(comm, DRAFT_S);
    return slip_comm_agree(comm, status);
}

slip_status slip_job_open(slip_job *job)
{
    slip_comm_set_deadline(job->comm, job->options->deadline);
    slip_status status = choose_device(job);
    if (status == SLIP_OK)
        status = job->options->shape ? open_shape(job) : slip_source_open(job->comm, job->options->model, &job->source);
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

/* Is the draft cut over all ranks? By default where that was measured to be faster: on two H200s a draft of the Flash shape takes 0.91
 * instead of 1.52 ms, while CPUs gain little or lose. */
static bool cuts_draft(const slip_job *job)
{
    const slip_options *options = job->options;
    if (options->draft_ranks)
        return options->draft_ranks == SLIP_DRAFT_ON_ALL;
    return job->kind == &slip_executor_cuda && slip_comm_ranks(job->comm) > 1 && !options->shard_of;
}

/* Before anything large is allocated. */
static void print_estimate(const slip_job *job, int32_t shards, const slip_rank_options *options)
{
    slip_memory memory, draft;
    bool cut = cuts_draft(job);
    slip_plan_memory(&job->source, job->kind, shards, options->slices, &options->limits, &memory);
    fprintf(stderr, "# memory           %.1f MB of weights and %.1f MB of K/V a rank for %d sequences of %lld tokens",
            (double)memory.weights * 1e-6, (double)memory.caches * 1e-6, options->limits.sequences,
            (long long)options->limits.context);
    if (options->taps) {
        slip_plan_draft_memory(&job->source, job->kind, cut ? shards : 1, &options->limits, &draft);
        fprintf(stderr, "; the draft adds %.1f and %.1f MB %s", (double)draft.weights * 1e-6, (double)draft.caches * 1e-6,
                cut ? "a rank" : "on rank 0");
    }
    fputc('\n', stderr);
}

/* How the target's executor is made, and but for a few fields the draft's. */
static slip_executor_options executor_options(const slip_job *job)
{
    const slip_options *options = job->options;
    slip_executor_options made = {
        .round_activations = options->round_activations,
        .launch = options->engine == SLIP_ENGINE_LAUNCH,
        .absent_peers = options->shard_of ? (int32_t)options->shard_of - 1 : 0,
        .deadline = options->deadline,
        .profile = is_coordinator(job) ? options->profile : NULL,
        .watched = options->trace_ops != NULL,
    };
    if (job->trace_ops) {
        made.watch = slip_trace_ops_watch;
        made.watch_context = slip_trace_ops_lane(job->trace_ops, SLIP_TRACE_TARGET);
    }
    return made;
}

/* Scoring reads a text as it is: a drafter would only take memory. */
static bool drafts(const slip_job *job)
{
    return job->source.model.has_draft && !job->options->no_draft && job->options->command != SLIP_COMMAND_SCORE;
}

static slip_status start_draft(slip_job *job)
{
    slip_executor_options options = executor_options(job);
    slip_comm *comm = cuts_draft(job) ? job->comm : NULL;
    options.target = slip_rank_executor(job->rank);
    options.absent_peers = 0; /* the draft is whole on this rank, or its peers are there */
    if (!is_coordinator(job))
        return slip_draft_share_create(&job->source, job->kind, comm, &options, &job->limits, &job->draft_share);
    if (job->trace_ops)
        options.watch_context = slip_trace_ops_lane(job->trace_ops, SLIP_TRACE_DRAFT);
    slip_status status = slip_draft_create(&job->source, job->kind, comm, &options, &job->limits, &job->draft);
    if (status == SLIP_OK && job->trace_ops)
        slip_trace_ops_follow(options.watch_context, slip_draft_program(job->draft));
    return status;
}

/* The draft where this rank has a share, and on rank 0 what drives it all. */
static slip_status start_decoder(slip_job *job, const slip_decoder_options *decoding, slip_trace *trace)
{
    slip_status status = SLIP_OK;
    if (job->trace_ops)
        slip_trace_ops_follow(slip_trace_ops_lane(job->trace_ops, SLIP_TRACE_TARGET), slip_rank_program(job->rank));
    if (drafts(job) && (is_coordinator(job) || cuts_draft(job)))
        status = start_draft(job);
    if (status == SLIP_OK && is_coordinator(job))
        status = slip_decoder_create(job->rank, job->draft, &job->source.model, &job->limits, decoding, trace, &job->decoder);
    return status;
}

int32_t slip_job_embedded_ids(const slip_job *job)
{
    int64_t shards = job->options->shard_of ? job->options->shard_of : slip_comm_ranks(job->comm);
    return (int32_t)slip_placement_piece(job->source.model.vocabulary, 1, shards, 0).count;
}

slip_status slip_job_start(slip_job *job, slip_status mine, int32_t sequences, int64_t context, slip_trace *trace)
{
    struct { int32_t sequences; int64_t context; } sizes = {sequences, context};
    int32_t shard_of = (int32_t)job->options->shard_of;
    if (is_coordinator(job) && mine == SLIP_OK && job->options->trace_ops)
        mine = slip_trace_ops_create(job->options->trace_ops, slip_op_name, &job->trace_ops);
    slip_status status = slip_comm_agree(job->comm, mine);
    if (status == SLIP_OK)
        status = slip_comm_broadcast(job->comm, &sizes, sizeof sizes);
    if (status != SLIP_OK)
        return status;
    slip_decoder_options decoding = {
        .sequences = sizes.sequences,
        .chunk = PROMPT_CHUNK,
        .always_draft = job->options->always_draft || job->options->acceptance > 0,
        .prompts_first = job->options->command == SLIP_COMMAND_BENCH,
        .forced_acceptance = job->options->acceptance,
        .made_up_drafts = job->options->shape ? slip_job_embedded_ids(job) : 0,
    };
    job->limits = slip_decoder_limits(&job->source.model, &decoding, sizes.context);
    if (job->limits.rows > SLIP_MAX_ROWS)
        return slip_fail(SLIP_ERR_INPUT, "--sequences %d: blocks of %d tokens make more than %d rows a step", sizes.sequences,
                         job->source.model.draft.block, SLIP_MAX_ROWS);
    bool dedicated = job->options->coordinator == SLIP_COORDINATOR_DEDICATED;
    int32_t shards = shard_of ? shard_of : slip_comm_ranks(job->comm) - dedicated;
    int32_t slices = (int32_t)job->options->expert_slices;
    slip_rank_options options = {
        .kind = job->kind,
        .slices = slices ? slices : slip_plan_slices(&job->source.model, shards),
        .dedicated = dedicated,
        .taps = drafts(job),
        .shard_of = shard_of,
        .limits = job->limits,
        .executor = executor_options(job),
    };
    if (is_coordinator(job) && !job->options->quiet)
        print_estimate(job, shards, &options);
    status = slip_rank_create(job->comm, &job->source, &options, &job->rank);
    if (status != SLIP_OK)
        return status;
    status = slip_comm_agree(job->comm, start_decoder(job, &decoding, trace));
    if (status != SLIP_OK)
        return status;
    job->running = true;
    if (is_coordinator(job))
        return SLIP_OK;
    status = slip_rank_serve(job->rank, job->draft_share);
    job->running = status != SLIP_OK;
    return status;
}

slip_status slip_job_end(slip_job *job)
{
    slip_status status = slip_rank_end(job->rank);
    job->running = status != SLIP_OK;
    if (status == SLIP_OK && job->trace_ops)
        status = slip_trace_ops_finish(job->trace_ops);
    return status;
}

void slip_job_close(slip_job *job)
{
    if (job->decoder)
        slip_decoder_free(job->decoder);
    if (job->draft)
        slip_draft_free(job->draft);
    if (job->draft_share)
        slip_draft_share_free(job->draft_share);
    if (job->rank)
        slip_rank_free(job->rank);
    if (job->trace_ops)
        slip_trace_ops_free(job->trace_ops);
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

enum { EMULATED = 4, EMULATED_SIZE = 48 };

/* What the figures must confess; returns how many lines. */
static int list_emulated(const slip_options *options, char lines[EMULATED][EMULATED_SIZE])
{
    int count = 0;
    if (options->shape)
        snprintf(lines[count++], EMULATED_SIZE, "random weights");
    if (options->shape && !options->no_draft)
        snprintf(lines[count++], EMULATED_SIZE, "random drafts");
    if (options->acceptance > 0)
        snprintf(lines[count++], EMULATED_SIZE, "forced acceptance %g", options->acceptance);
    if (options->shard_of == 2)
        snprintf(lines[count++], EMULATED_SIZE, "absent peer 1");
    else if (options->shard_of > 2)
        snprintf(lines[count++], EMULATED_SIZE, "absent peers 1-%lld", (long long)options->shard_of - 1);
    return count;
}

slip_status slip_job_report(slip_job *job, const char *text, size_t text_size)
{
    slip_metrics *metrics = slip_decoder_metrics(job->decoder);
    slip_executor *executor = slip_rank_executor(job->rank); /* NULL on a dedicated rank 0 */
    char emulated[EMULATED][EMULATED_SIZE];
    if (job->options->quiet && !job->options->json)
        return SLIP_OK;
    metrics->stream_ceiling = executor ? job->kind->stream_ceiling(executor) : 0;
    slip_run_facts facts = {
        .argc = job->argc,
        .argv = job->argv,
        .device = executor ? job->kind->device(executor) : job->kind->name,
        .model = job->options->shape ? job->shape_name : job->options->model,
        .ranks = slip_comm_ranks(job->comm),
        .host = rank_host,
        .context = job->comm,
        .expert_slices = slip_rank_placement(job->rank)->slices,
        .emulated = {emulated[0], emulated[1], emulated[2], emulated[3]},
        .emulated_count = list_emulated(job->options, emulated),
    };
    if (!job->options->quiet)
        slip_metrics_print(metrics, &facts, stderr);
    if (!job->options->json)
        return SLIP_OK;
    json_t *object = slip_metrics_json(metrics, &facts);
    if (object && text)
        json_object_set_new(object, "text", json_stringn(text, text_size));
    int written = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;
    json_decref(object);
    if (written < 0 || putchar('\n') == EOF || fflush(stdout) != 0)
        return slip_fail(SLIP_ERR_FAILED, "the figures could not be written to standard output");
    return SLIP_OK;
}
