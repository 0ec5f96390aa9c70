#include "jobs/job_sizes.h"

#include <stdio.h>
#include <unistd.h>

#include "coordinator/serve/room.h"

enum { SCORED_ROWS = 64 }; /* in one step: the logits of each row come to the host */

int32_t slip_job_shards(const slip_job *job)
{
    return job->options->shard_of ? (int32_t)job->options->shard_of : slip_comm_ranks(job->comm);
}

int32_t slip_job_slices(const slip_job *job)
{
    int32_t slices = (int32_t)job->options->expert_slices;
    return slices ? slices : slip_plan_slices(&job->source.model, slip_job_shards(job));
}

/* Scoring reads a text as it is: a drafter would only take memory. */
bool slip_job_drafts(const slip_job *job)
{
    return job->source.model.has_draft && !job->options->no_draft && job->options->command != SLIP_COMMAND_SCORE;
}

/* By default where that was measured to be faster: on two H200s a draft of the Flash shape takes 0.91 instead of 1.52 ms, while CPUs gain
 * little or lose. */
bool slip_job_cuts_draft(const slip_job *job)
{
    const slip_options *options = job->options;
    if (options->draft_ranks)
        return options->draft_ranks == SLIP_DRAFT_ON_ALL;
    return job->kind == &slip_executor_cuda && slip_job_shards(job) > 1;
}

slip_decoder_options slip_job_decoding(const slip_job *job, const slip_job_sizes *sizes)
{
    const slip_options *options = job->options;
    const bool scores = options->command == SLIP_COMMAND_SCORE;
    return (slip_decoder_options){
        .sequences = sizes->sequences,
        .kv_tokens = sizes->kv_tokens,
        .chunk = scores ? SCORED_ROWS : sizes->chunk,
        .every_row = scores,
        .step_budget_ms = options->step_budget,
        .always_draft = options->always_draft || options->acceptance > 0,
        .prompts_first = options->command == SLIP_COMMAND_BENCH,
        .forced_acceptance = options->acceptance,
        .random_drafts = options->shape ? slip_job_embedded_ids(job) : 0,
    };
}

/* ---- what memory carries ---- */

/* The memory of a rank, in bytes. All GPUs are taken to be like the first one here; a host's memory is its ranks' in equal parts. */
static double memory_of(const slip_job *job)
{
    if (job->kind == &slip_executor_cuda)
        return slip_cuda_memory();
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / slip_comm_ranks_here(job->comm);
}

static void print_sizes(const slip_limits *limits, bool counted, int64_t asked)
{
    if (asked > 0 && limits->kv_tokens > asked)
        fprintf(stderr, "# sequences        K/V for %lld tokens, not %lld: it comes in pages of %d\n", (long long)limits->kv_tokens,
                (long long)asked, SLIP_KV_PAGE);
    if (counted)
        fprintf(stderr, "# sequences        %d at once, as many as memory carries: they share K/V for %lld tokens\n", limits->sequences,
                (long long)limits->kv_tokens);
    if (limits->kv_tokens < limits->context)
        fprintf(stderr, "# sequences        K/V for %lld tokens is all there is: the longest request may want %lld, and be refused\n",
                (long long)limits->kv_tokens, (long long)limits->context);
}

void slip_job_settle_sizes(const slip_job *job, slip_job_sizes *sizes)
{
    const slip_model *model = &job->source.model;
    int32_t draft_ranks = slip_job_cuts_draft(job) ? slip_job_shards(job) : 1;
    slip_room room = {
        .source = &job->source,
        .kind = job->kind,
        .ranks = slip_job_shards(job),
        .slices = slip_job_slices(job),
        .draft_ranks = slip_job_drafts(job) ? draft_ranks : 0,
        .memory = memory_of(job) * slip_room_share(job->kind),
    };
    bool counted = sizes->sequences == 0;
    slip_decoder_options decoding = slip_job_decoding(job, sizes);
    if (job->options->command != SLIP_COMMAND_SCORE)
        decoding.chunk = sizes->chunk = slip_room_chunk(&room, &decoding, sizes->context);
    if (job->options->command != SLIP_COMMAND_BATCH)
        return;
    if (counted)
        decoding.sequences = sizes->sequences = slip_room_sequences(&room, &decoding, sizes->context);
    if (sizes->kv_tokens == 0)
        sizes->kv_tokens = slip_room_tokens(&room, &decoding, sizes->context);
    decoding.kv_tokens = sizes->kv_tokens;
    slip_limits limits = slip_decoder_limits(model, &decoding, sizes->context);
    if (!job->options->quiet)
        print_sizes(&limits, counted, job->options->kv_tokens);
}

/* ---- what it comes to ---- */

void slip_job_print_estimate(const slip_job *job)
{
    slip_memory memory, draft;
    int32_t shards = slip_job_shards(job);
    bool cut = slip_job_cuts_draft(job);
    slip_plan_memory(&job->source, job->kind, shards, slip_job_slices(job), &job->limits, &memory);
    fprintf(stderr, "# memory           %.1f MB of weights and %.1f MB of K/V a rank for %d sequence%s, %lld tokens together",
            (double)memory.weights * 1e-6, (double)memory.caches * 1e-6, job->limits.sequences, job->limits.sequences == 1 ? "" : "s",
            (long long)job->limits.kv_tokens);
    if (slip_job_drafts(job)) {
        slip_plan_draft_memory(&job->source, job->kind, cut ? shards : 1, &job->limits, &draft);
        fprintf(stderr, "; the draft adds %.1f and %.1f MB %s", (double)draft.weights * 1e-6, (double)draft.caches * 1e-6,
                cut ? "a rank" : "on rank 0");
    }
    fputc('\n', stderr);
}
