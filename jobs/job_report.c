/* What a run says of itself at its end. */
#include <stdio.h>

#include "jobs/job.h"

static const char *rank_host(const void *context, int rank)
{
    return slip_comm_host(context, rank);
}

enum { EMULATED = 4, EMULATED_SIZE = 48 };

/* What the metrics must confess; returns how many lines. */
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
    slip_executor *executor = slip_runner_executor(slip_rank_target(job->rank));
    char emulated[EMULATED][EMULATED_SIZE];
    if (job->options->quiet && !job->options->json)
        return SLIP_OK;
    metrics->stream_ceiling = job->kind->stream_ceiling(executor);
    slip_run_facts facts = {
        .argc = job->argc,
        .argv = job->argv,
        .device = job->kind->device(executor),
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
