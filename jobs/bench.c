/* slipstream bench: read the prompts of --sequences sequences, then decode a fixed number of tokens in all of them together, and report
 * the metrics. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/serve/serve.h"
#include "jobs/job.h"

enum {
    SHAPE_CONTEXT = 1024, /* tokens that --shape decodes at unless --context says */
    SHORT_PROMPT = 16,    /* ids for a checkpoint without a tokenizer */
};

static const char default_prompt[] =
    "class Stack:\n    \"\"\"A last-in, first-out container.\"\"\"\n\n    def __init__(self):\n        self.items = []\n\n"
    "    def push(self, item):\n";

/* With --shape, prompt and answer fill the context unless told otherwise. */
static slip_status shape_prompt(const slip_options *options, size_t *count)
{
    int64_t context = options->context ? options->context : SHAPE_CONTEXT;
    if (context <= options->max_tokens)
        return slip_fail(SLIP_ERR_INPUT, "--context %lld leaves no prompt before %lld tokens: --prompt-tokens says how long it is",
                         (long long)context, (long long)options->max_tokens);
    *count = (size_t)(context - options->max_tokens);
    return SLIP_OK;
}

/* Ids with embeddings: rows of zeros would pick the same experts every time. */
static slip_status make_ids(const slip_job *job, int32_t **ids, size_t count)
{
    int32_t known = slip_job_embedded_ids(job);
    *ids = malloc(count * sizeof **ids);
    if (!*ids)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (size_t i = 0; i < count; i++)
        (*ids)[i] = known ? (int32_t)(i % (size_t)known) : 0;
    return SLIP_OK;
}

/* A text where there is a tokenizer and nobody asked for a length; else ids. */
static slip_status make_prompt(const slip_job *job, int32_t **ids, size_t *count)
{
    const slip_options *options = job->options;
    const char *text = options->prompt ? options->prompt : default_prompt;
    slip_status status = SLIP_OK;
    if (!options->prompt_tokens && (job->tokenizer || options->prompt))
        return slip_job_encode(job, text, strlen(text), 0, ids, count);
    *count = options->prompt_tokens ? (size_t)options->prompt_tokens : SHORT_PROMPT;
    if (options->shape && !options->prompt_tokens)
        status = shape_prompt(options, count);
    return status == SLIP_OK ? make_ids(job, ids, *count) : status;
}

/* The prompt twice, one behind the other, so that every turn of it is a run of `count`. */
static slip_status double_prompt(int32_t **ids, size_t count)
{
    int32_t *twice = realloc(*ids, 2 * count * sizeof *twice);
    if (!twice)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    memcpy(twice + count, twice, count * sizeof *twice);
    *ids = twice;
    return SLIP_OK;
}

static slip_status ignore(void *context, const slip_completion *completion)
{
    (void)context;
    return completion->error ? slip_fail(SLIP_ERR_FAILED, "%s", completion->error) : SLIP_OK;
}

/* Each sequence has the prompt turned to another beginning: equal prompts would be answered by equal tokens, and those pick equal experts,
 * so that many sequences would read the weights of one. */
static slip_status decode(slip_job *job, const int32_t *twice, size_t count)
{
    slip_serve *serve;
    slip_status status = slip_serve_create(job->decoder, NULL, &serve);
    if (status != SLIP_OK)
        return status;
    slip_serve_request request = {.sink = {.end = ignore}};
    request.query = (slip_query){
        .prompt_count = (int32_t)count, .max_tokens = (int32_t)job->options->max_tokens, .sampling = {.top_p = 1}, .ignore_eos = true};
    for (int32_t slot = 0; slot < job->options->sequences && status == SLIP_OK; slot++) {
        request.query.prompt = twice + (size_t)slot * count / (size_t)job->options->sequences;
        request.query.sampling.seed = (uint64_t)slot + 1;
        status = slip_serve_submit(serve, &request, NULL);
    }
    while (status == SLIP_OK && slip_serve_busy(serve)) {
        status = slip_job_heed_signals(job);
        if (status == SLIP_OK)
            status = slip_serve_step(serve);
    }
    slip_serve_free(serve);
    return status;
}

slip_status slip_bench(slip_job *job)
{
    int32_t *ids = NULL;
    size_t count = 0;
    int64_t context = 0;
    bool coordinator = slip_comm_rank(job->comm) == 0;
    slip_status status = slip_job_open(job);
    if (status != SLIP_OK)
        return status;
    if (coordinator)
        status = make_prompt(job, &ids, &count);
    if (coordinator && status == SLIP_OK)
        status = double_prompt(&ids, count);
    if (coordinator && status == SLIP_OK) {
        int64_t wanted = (int64_t)count + job->options->max_tokens;
        context = slip_job_context(job, wanted);
        if (context < wanted)
            status = slip_fail(SLIP_ERR_INPUT, "-n %lld: the prompt has %zu tokens and the context holds %lld",
                               (long long)job->options->max_tokens, count, (long long)context);
    }
    status = slip_job_start(job, status, (int32_t)job->options->sequences, context, NULL);
    if (coordinator && status == SLIP_OK)
        status = decode(job, ids, count);
    if (coordinator)
        status = slip_job_end(job, status);
    if (coordinator && status == SLIP_OK && job->options->profile && access(job->options->profile, F_OK) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: no step was profiled, there were too few: more with -n", job->options->profile);
    job->requests = job->options->sequences;
    if (coordinator && status == SLIP_OK)
        status = slip_job_report(job, NULL, 0);
    free(ids);
    return status;
}
