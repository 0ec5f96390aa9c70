#include "jobs/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "comm/signals.h"
#include "io/report/metrics_file.h"
#include "jobs/device.h"
#include "jobs/job_sizes.h"
#include "ranks/model/build.h"
#include "ranks/model/family.h"
#include "ranks/model/overlap.h"
#include "ranks/plan.h"

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
    job->source.distinct_experts = (int32_t)job->options->distinct_experts;
    return SLIP_OK;
}

/* What this model cannot do is refused by its name. All ranks come to the same. */
static slip_status check_model(const slip_job *job)
{
    const slip_options *options = job->options;
    const slip_model *model = &job->source.model;
    const char *needs_draft = options->acceptance > 0 ? "--acceptance"
                              : options->always_draft ? "--always-draft"
                              : options->draft_ranks  ? "--draft-ranks"
                                                      : NULL;
    if (options->context > model->max_positions)
        return slip_fail(SLIP_ERR_INPUT, "--context %lld: the model has %d positions", (long long)options->context, model->max_positions);
    if (needs_draft && !model->has_draft)
        return slip_fail(SLIP_ERR_INPUT, "%s: the model has no draft", needs_draft);
    if (model->has_draft && options->acceptance > model->draft.block)
        return slip_fail(SLIP_ERR_INPUT, "--acceptance %g: a step of this model commits %d tokens at most", options->acceptance,
                         model->draft.block);
    double most = options->distinct_experts ? slip_overlap_distinct(model->experts, model->top_k, model->draft.block) : 0;
    if (options->distinct_experts && (options->distinct_experts < model->top_k || (double)options->distinct_experts > most))
        return slip_fail(SLIP_ERR_INPUT, "--distinct-experts %lld: a block of %d tokens touches %d to %.0f experts of this shape",
                         (long long)options->distinct_experts, model->draft.block, model->top_k, floor(most));
    return SLIP_OK;
}

/* What so many ranks cannot do. */
static slip_status check_ranks(const slip_job *job)
{
    const slip_options *options = job->options;
    if (options->shard_of && slip_comm_ranks(job->comm) > 1)
        return slip_fail(SLIP_ERR_INPUT, "--shard-of %lld: it runs one shard on one rank, not %d", (long long)options->shard_of,
                         slip_comm_ranks(job->comm));
    return options->expert_slices ? slip_placement_check(&job->source.model, slip_job_shards(job), (int32_t)options->expert_slices)
                                  : SLIP_OK;
}

/* The files of a batch that outlive a run which failed or was stopped: the record of what it did is worth more then. */
enum { TRACE, METRICS };

static bool is_record(int output)
{
    return output == TRACE || output == METRICS;
}

/* May this output be there already? A resumed batch appends to the trace of the run that it goes on with; metrics are replaced all the time. */
static bool may_exist(const slip_options *options, int output, const char *path)
{
    return (output == TRACE && options->resume && slip_trace_is(path)) || (output == METRICS && slip_metrics_file_is(path));
}

/* Before anything is computed for them. Not `claim`: they are looked at, and no more. */
static slip_status check_outputs(slip_job *job, bool claim)
{
    const slip_options *options = job->options;
    const char *paths[SLIP_JOB_OUTPUTS] = {
        [TRACE] = options->trace, [METRICS] = options->metrics, options->logits, options->trace_ops, options->profile, options->html};
    slip_status status = SLIP_OK;
    for (int i = 0; i < SLIP_JOB_OUTPUTS && status == SLIP_OK; i++) {
        bool replace = paths[i] && may_exist(options, i, paths[i]);
        if (paths[i])
            status = claim ? slip_output_claim(paths[i], replace, !is_record(i), &job->outputs[i]) : slip_output_check(paths[i], replace);
    }
    return status;
}

void slip_job_settle_outputs(slip_job *job, slip_status status)
{
    for (int i = 0; i < SLIP_JOB_OUTPUTS; i++) {
        slip_output_close(job->outputs[i], is_record(i) || status == SLIP_OK);
        job->outputs[i] = NULL;
    }
}

/* Reading or loading begins. */
static void start_work(slip_job *job)
{
    slip_progress_clear(&job->work);
    slip_progress_start(&job->work, is_coordinator(job) && !job->options->quiet ? stderr : NULL, 0, 0, slip_now_s());
}

/* Collective, and alike on all ranks: the model. */
static slip_status open_model(slip_job *job)
{
    return job->options->shape ? open_shape(job) : slip_source_open(job->comm, job->options->model, &job->source);
}

static slip_status check_options(slip_job *job)
{
    const slip_checkpoint *table = &job->source.table;
    slip_status status = SLIP_OK;
    if (is_coordinator(job) && table->tokenizer)
        status = slip_tokenizer_parse(table->tokenizer, table->tokenizer_size, job->options->model, job->source.model.vocabulary,
                                      &job->tokenizer);
    return status == SLIP_OK ? check_model(job) : status;
}

slip_status slip_job_open(slip_job *job)
{
    slip_comm_set_deadline(job->comm, job->options->deadline);
    start_work(job);
    slip_status status = slip_device_agree(job->options, job->comm, &job->kind);
    if (status == SLIP_OK)
        status = open_model(job);
    if (status != SLIP_OK)
        return status;
    status = check_options(job);
    if (status == SLIP_OK)
        status = check_ranks(job);
    if (is_coordinator(job) && status == SLIP_OK)
        status = check_outputs(job, true);
    return slip_comm_agree(job->comm, status);
}

slip_status slip_job_check(slip_job *job)
{
    slip_comm_set_deadline(job->comm, job->options->deadline);
    start_work(job);
    slip_status status = open_model(job);
    if (status != SLIP_OK)
        return status;
    status = check_options(job);
    if (is_coordinator(job) && status == SLIP_OK)
        status = check_outputs(job, false);
    return slip_comm_agree(job->comm, status);
}

int64_t slip_job_context(const slip_job *job, int64_t wanted)
{
    int64_t most = job->source.model.max_positions;
    int64_t context = job->options->context ? job->options->context : wanted ? wanted : most;
    return context < most ? context : most;
}

int32_t slip_job_embedded_ids(const slip_job *job)
{
    return (int32_t)slip_placement_piece(job->source.model.vocabulary, 1, slip_job_shards(job), 0).count;
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

/* Where this rank has a share of the draft; its ops are traced beside the target's. */
static slip_status load_draft(slip_job *job)
{
    slip_executor_options options = executor_options(job);
    if (!slip_job_drafts(job) || (!is_coordinator(job) && !slip_job_cuts_draft(job)))
        return SLIP_OK;
    if (!slip_job_cuts_draft(job))
        options.absent_peers = 0; /* it has none */
    if (job->trace_ops)
        options.watch_context = slip_trace_ops_lane(job->trace_ops, SLIP_TRACE_DRAFT);
    slip_status status = slip_rank_load_draft(job->rank, slip_job_cuts_draft(job), &options);
    if (status == SLIP_OK && job->trace_ops)
        slip_trace_ops_follow(options.watch_context, slip_runner_program(slip_rank_draft(job->rank)));
    return status;
}

/* On rank 0, what drives it all. */
static slip_status start_decoder(slip_job *job, const slip_decoder_options *decoding, slip_trace *trace)
{
    slip_status status = SLIP_OK;
    if (job->trace_ops)
        slip_trace_ops_follow(slip_trace_ops_lane(job->trace_ops, SLIP_TRACE_TARGET), slip_runner_program(slip_rank_target(job->rank)));
    if (slip_rank_draft(job->rank))
        status = slip_draft_create(job->rank, &job->draft);
    if (status == SLIP_OK)
        status = slip_decoder_create(job->rank, job->draft, &job->source.model, &job->limits, decoding, trace, &job->decoder);
    return status;
}

static slip_status settle_limits(slip_job *job, const slip_decoder_options *decoding, int64_t context)
{
    job->limits = slip_decoder_limits(&job->source.model, decoding, context);
    if (job->limits.logit_rows > SLIP_MAX_LOGIT_ROWS)
        return slip_fail(SLIP_ERR_INPUT, "--sequences %d: blocks of %d tokens make more than %d rows a step", decoding->sequences,
                         job->source.model.draft.block, SLIP_MAX_LOGIT_ROWS);
    return SLIP_OK;
}

static slip_status start_rank(slip_job *job)
{
    slip_rank_options options = {
        .kind = job->kind,
        .slices = slip_job_slices(job),
        .shard_of = (int32_t)job->options->shard_of,
        .limits = job->limits,
        .executor = executor_options(job),
    };
    if (is_coordinator(job) && !job->options->quiet && job->source.path && !job->source.table.checksums)
        fprintf(stderr, "# checkpoint       has no checksums, so damage goes unseen: slipstream convert %s NEW.h5 makes a copy that has\n",
                job->source.path);
    if (is_coordinator(job) && !job->options->quiet)
        slip_job_print_sampling(job);
    if (is_coordinator(job) && !job->options->quiet)
        slip_job_print_estimate(job);
    return slip_rank_create(job->comm, &job->source, &options, &job->rank);
}

/* Everything that is loaded: on all ranks, and on rank 0 the decoder. */
static slip_status load(slip_job *job, const slip_job_sizes *sizes, slip_trace *trace)
{
    slip_decoder_options decoding = slip_job_decoding(job, sizes);
    start_work(job);
    job->source.progress = &job->work;
    slip_status status = settle_limits(job, &decoding, sizes->context);
    if (status == SLIP_OK)
        status = start_rank(job);
    if (status != SLIP_OK)
        return status;
    status = load_draft(job);
    if (status == SLIP_OK && is_coordinator(job))
        status = start_decoder(job, &decoding, trace);
    slip_progress_clear(&job->work);
    return slip_comm_agree(job->comm, status);
}

/* The most memory that our process has held. */
static int64_t peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}

slip_status slip_peak_memory(slip_comm *comm, int64_t *bytes)
{
    int64_t mine = peak_bytes();
    slip_status status = SLIP_OK;
    if (slip_comm_rank(comm) != 0)
        return slip_comm_send(comm, &mine, sizeof mine, "telling its memory");
    bytes[0] = mine;
    for (int from = 1; from < slip_comm_ranks(comm) && status == SLIP_OK; from++)
        status = slip_comm_receive(comm, from, &bytes[from], sizeof *bytes, "hearing of the ranks' memory");
    return status;
}

static slip_status hear_memory(slip_job *job)
{
    job->peak_bytes = calloc((size_t)slip_comm_ranks(job->comm), sizeof *job->peak_bytes);
    return job->peak_bytes ? slip_peak_memory(job->comm, job->peak_bytes) : slip_fail(SLIP_ERR_FAILED, "out of memory");
}

slip_status slip_job_start(slip_job *job, slip_status mine, int32_t sequences, int64_t context, slip_trace *trace)
{
    slip_job_sizes sizes = {sequences, context, job->options->kv_tokens, job->kind->prompt_rows};
    if (is_coordinator(job) && mine == SLIP_OK && job->options->trace_ops)
        mine = slip_trace_ops_create(job->options->trace_ops, slip_op_name, &job->trace_ops);
    slip_status status = slip_comm_agree(job->comm, mine);
    if (is_coordinator(job) && status == SLIP_OK)
        slip_job_settle_sizes(job, &sizes);
    if (status == SLIP_OK)
        status = slip_comm_broadcast(job->comm, &sizes, sizeof sizes);
    if (status == SLIP_OK)
        status = load(job, &sizes, trace);
    if (status != SLIP_OK)
        return status;
    job->running = true;
    slip_signals_defer();
    if (is_coordinator(job))
        return SLIP_OK;
    status = slip_rank_serve(job->rank);
    if (status == SLIP_OK)
        status = slip_peak_memory(job->comm, NULL);
    job->running = status != SLIP_OK;
    return status;
}

slip_status slip_job_heed_signals(const slip_job *job)
{
    int from, number = slip_rank_signal(job->rank, &from);
    if (number == 0)
        return SLIP_OK;
    return from > 0 ? slip_fail(SLIP_ERR_INTERRUPTED, "stopped on %s (at rank %d)", slip_signal_name(number), from)
                    : slip_fail(SLIP_ERR_INTERRUPTED, "stopped on %s", slip_signal_name(number));
}

slip_status slip_job_drive(const slip_job *job, slip_serve *serve)
{
    slip_status status = SLIP_OK;
    while (status == SLIP_OK && slip_serve_busy(serve)) {
        status = slip_job_heed_signals(job);
        if (status == SLIP_OK)
            status = slip_serve_step(serve);
    }
    return status;
}

slip_status slip_job_end(slip_job *job, slip_status done)
{
    if (done != SLIP_OK && done != SLIP_ERR_INTERRUPTED)
        return done;
    slip_status status = slip_rank_end(job->rank);
    if (status == SLIP_OK)
        status = hear_memory(job);
    job->running = status != SLIP_OK;
    if (status == SLIP_OK && job->trace_ops)
        status = slip_trace_ops_finish(job->trace_ops);
    return status == SLIP_OK ? done : status;
}

void slip_job_close(slip_job *job)
{
    if (job->decoder)
        slip_decoder_free(job->decoder);
    if (job->draft)
        slip_draft_free(job->draft);
    if (job->rank)
        slip_rank_free(job->rank);
    if (job->trace_ops)
        slip_trace_ops_free(job->trace_ops);
    if (job->tokenizer)
        slip_tokenizer_free(job->tokenizer);
    slip_source_close(&job->source);
    free(job->peak_bytes);
}

slip_status slip_job_encode(const slip_job *job, const char *text, size_t size, int special, int32_t **ids, size_t *count)
{
    if (!job->tokenizer)
        return slip_fail(SLIP_ERR_INPUT, "%s: the checkpoint has no tokenizer, so it takes token ids alone, not a text",
                         job->options->model);
    slip_status status = slip_tokenizer_encode(job->tokenizer, text, size, special, ids, count);
    if (status == SLIP_OK && *count == 0) {
        free(*ids);
        return slip_fail(SLIP_ERR_INPUT, "the text is empty: there is nothing to continue");
    }
    return status;
}
