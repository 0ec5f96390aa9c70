/* slipstream bench: decode a fixed number of tokens in each of --sequences sequences and report the figures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/job.h"

static const char default_prompt[] =
    "class Stack:\n    \"\"\"A last-in, first-out container.\"\"\"\n\n    def __init__(self):\n        self.items = []\n\n"
    "    def push(self, item):\n";

/* Without a tokenizer a benchmark still has something to read: the first ids of the vocabulary. */
static slip_status make_prompt(const slip_job *job, int32_t **ids, size_t *count)
{
    const char *text = job->options->prompt ? job->options->prompt : default_prompt;
    if (job->tokenizer)
        return slip_job_encode(job, text, strlen(text), 0, ids, count);
    *count = 16;
    *ids = malloc(*count * sizeof **ids);
    if (!*ids)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (size_t i = 0; i < *count; i++)
        (*ids)[i] = (int32_t)(i % (size_t)job->source.model.vocabulary);
    return SLIP_OK;
}

static slip_status decode(slip_job *job, const int32_t *ids, size_t count)
{
    slip_status status = SLIP_OK;
    slip_query query = {.prompt = ids, .prompt_count = (int32_t)count, .max_tokens = (int32_t)job->options->max_tokens,
                        .temperature = job->options->temperature, .top_p = 1, .ignore_eos = true};
    for (int32_t slot = 0; slot < job->options->sequences && status == SLIP_OK; slot++) {
        query.seed = (uint64_t)slot + 1;
        status = slip_decoder_admit(job->decoder, slot, &query);
    }
    while (status == SLIP_OK && slip_decoder_busy(job->decoder))
        status = slip_decoder_step(job->decoder);
    for (int32_t slot = 0; slot < job->options->sequences && status == SLIP_OK; slot++)
        slip_decoder_release(job->decoder, slot);
    return status;
}

slip_status slip_bench(slip_job *job)
{
    int32_t *ids = NULL;
    size_t count = 0;
    int64_t context = 0;
    char forced[64];
    bool coordinator = slip_comm_rank(job->comm) == 0;
    if (job->options->shape || job->options->shard_of)
        return slip_fail(SLIP_ERR_INPUT, "--shape and --shard-of make random weights on a GPU: this build computes on CPUs only");
    slip_status status = slip_job_open(job);
    if (status != SLIP_OK)
        return status;
    if (coordinator && job->options->acceptance > 0 && (!job->source.model.has_draft || job->options->no_draft))
        status = slip_fail(SLIP_ERR_INPUT, "--acceptance forces what a draft is accepted, and there is no draft");
    if (coordinator && status == SLIP_OK)
        status = make_prompt(job, &ids, &count);
    if (coordinator && status == SLIP_OK) {
        int64_t wanted = (int64_t)count + job->options->max_tokens;
        context = slip_job_context(job, wanted);
        if (context < wanted)
            status = slip_fail(SLIP_ERR_INPUT, "the prompt and %lld tokens do not fit the context of %lld",
                               (long long)job->options->max_tokens, (long long)context);
    }
    status = slip_job_start(job, status, (int32_t)job->options->sequences, context, NULL);
    if (coordinator && status == SLIP_OK)
        status = decode(job, ids, count);
    if (coordinator && status == SLIP_OK)
        status = slip_job_end(job);
    snprintf(forced, sizeof forced, "forced acceptance %g", job->options->acceptance);
    if (coordinator && status == SLIP_OK)
        status = slip_job_report(job, job->options->acceptance > 0 ? forced : NULL, NULL, 0);
    free(ids);
    return status;
}
