/* How a run samples, which it says before it begins, and what it says at its end. */
#include <stdio.h>

#include "io/report/summary.h"
#include "jobs/job.h"

/* The fields of sampling that are the model's own: a bit each, as in slip_sampling_defaults. */
static uint32_t sampling_of_model(const slip_job *job)
{
    uint32_t fields = job->source.model.sampling.given;
#define TYPED(field, option, ...) \
    if (slip_options_given(job->options, option)) \
        fields &= ~(1u << SLIP_SAMPLING_INDEX_##field);
    SLIP_SAMPLING_FIELDS(TYPED)
#undef TYPED
    return fields;
}

slip_sampling slip_job_sampling(const slip_job *job)
{
    const slip_sampling_defaults *model = &job->source.model.sampling;
    slip_sampling sampling = job->options->sampling;
    uint32_t of_model = sampling_of_model(job);
#define TAKE(field, ...) \
    if (of_model & 1u << SLIP_SAMPLING_INDEX_##field) \
        sampling.field = model->values.field;
    SLIP_SAMPLING_FIELDS(TAKE)
#undef TAKE
    return sampling;
}

void slip_job_print_sampling(const slip_job *job)
{
    const slip_sampling_defaults *model = &job->source.model.sampling;
    uint32_t of_model = sampling_of_model(job);
    if (of_model == 0 || (job->options->command != SLIP_COMMAND_GENERATE && job->options->command != SLIP_COMMAND_BATCH))
        return;
    fprintf(stderr, "# sampling         the model's own, where nobody says:");
#define SHOW(field, ...) \
    if (of_model & 1u << SLIP_SAMPLING_INDEX_##field) \
        fprintf(stderr, " " #field " %g", (double)model->values.field);
    SLIP_SAMPLING_FIELDS(SHOW)
#undef SHOW
    fputc('\n', stderr);
}

static const char *rank_host(const void *context, int rank)
{
    return slip_comm_host(context, rank);
}

/* What the metrics must confess; returns how many lines. */
static int list_emulated(const slip_options *options, char lines[SLIP_FACTS_EMULATED][SLIP_EMULATED_SIZE])
{
    int count = 0;
    if (options->shape)
        snprintf(lines[count++], SLIP_EMULATED_SIZE, "random weights");
    if (options->shape && !options->no_draft)
        snprintf(lines[count++], SLIP_EMULATED_SIZE, "random drafts");
    if (options->acceptance > 0)
        snprintf(lines[count++], SLIP_EMULATED_SIZE, "forced acceptance %g", options->acceptance);
    if (options->distinct_experts)
        snprintf(lines[count++], SLIP_EMULATED_SIZE, "routing with %lld distinct experts a block", (long long)options->distinct_experts);
    if (options->shard_of == 2)
        snprintf(lines[count++], SLIP_EMULATED_SIZE, "absent peer 1");
    else if (options->shard_of > 2)
        snprintf(lines[count++], SLIP_EMULATED_SIZE, "absent peers 1-%lld", (long long)options->shard_of - 1);
    return count;
}

slip_run_facts slip_job_facts(const slip_job *job, char emulated[SLIP_FACTS_EMULATED][SLIP_EMULATED_SIZE])
{
    return (slip_run_facts){
        .command = slip_command_name(job->options->command),
        .argc = job->argc,
        .argv = job->argv,
        .device = job->kind->device(slip_runner_executor(slip_rank_target(job->rank))),
        .model = job->options->shape ? job->shape_name : job->options->model,
        .ranks = slip_comm_ranks(job->comm),
        .host = rank_host,
        .context = job->comm,
        .peak_bytes = job->peak_bytes,
        .expert_slices = slip_rank_placement(job->rank)->slices,
        .requests = job->requests,
        .failed = job->failed,
        .unfinished = job->unfinished,
        .seconds = slip_now_s() - job->started_s,
        .emulated = {emulated[0], emulated[1], emulated[2], emulated[3], emulated[4]},
        .emulated_count = list_emulated(job->options, emulated),
    };
}

double slip_job_stream_ceiling(const slip_job *job)
{
    return job->kind->stream_ceiling(slip_runner_executor(slip_rank_target(job->rank)));
}

slip_status slip_job_report(slip_job *job, const char *text, size_t text_size)
{
    slip_metrics *metrics = slip_decoder_metrics(job->decoder);
    char emulated[SLIP_FACTS_EMULATED][SLIP_EMULATED_SIZE];
    if (job->options->quiet && !job->options->json)
        return SLIP_OK;
    metrics->stream_ceiling = slip_job_stream_ceiling(job);
    slip_run_facts facts = slip_job_facts(job, emulated);
    if (!job->options->quiet)
        slip_metrics_print(metrics, &facts, stderr);
    if (!job->options->json)
        return SLIP_OK;
    json_t *object = slip_metrics_json(metrics, &facts);
    if (object && text)
        json_object_set_new(object, "text", json_stringn(text, text_size));
    return slip_summary_print(object);
}
