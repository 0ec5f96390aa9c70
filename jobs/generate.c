/* slipstream generate: one prompt, its continuation streamed to standard output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/continuation.h"
#include "jobs/job.h"

static slip_status show(slip_continuation *text, size_t *shown)
{
    size_t size = text->safe - *shown;
    if (size == 0)
        return SLIP_OK;
    if (fwrite(text->bytes + *shown, 1, size, stdout) != size || fflush(stdout) != 0)
        return slip_fail(SLIP_ERR_FAILED, "the text could not be written to standard output");
    *shown = text->safe;
    return SLIP_OK;
}

static slip_status stream(slip_job *job, slip_continuation *text)
{
    const slip_sequence *sequence = slip_decoder_sequence(job->decoder, 0);
    size_t shown = 0;
    slip_status status = SLIP_OK;
    while (status == SLIP_OK && slip_decoder_busy(job->decoder)) {
        status = slip_decoder_step(job->decoder);
        for (int32_t i = sequence->count - sequence->fresh; i < sequence->count && status == SLIP_OK; i++)
            status = slip_continuation_push(text, sequence->tokens[i]);
        if (status == SLIP_OK && !job->options->json)
            status = show(text, &shown);
    }
    if (status == SLIP_OK)
        status = slip_continuation_finish(text);
    if (status == SLIP_OK && !job->options->json)
        status = show(text, &shown);
    if (status == SLIP_OK && !job->options->json)
        status = putchar('\n') == EOF || fflush(stdout) != 0 ? slip_fail(SLIP_ERR_FAILED, "standard output failed") : SLIP_OK;
    return status;
}

static slip_status check_length(const slip_job *job, size_t prompt, int64_t *context)
{
    int64_t wanted = (int64_t)prompt + job->options->max_tokens;
    *context = slip_job_context(job, wanted);
    if ((int64_t)prompt >= *context)
        return slip_fail(SLIP_ERR_INPUT, "the prompt has %zu tokens and the context holds %lld: no room for an answer", prompt,
                         (long long)*context);
    return SLIP_OK;
}

static slip_status decode(slip_job *job, const int32_t *ids, size_t count, int64_t context, slip_continuation *text)
{
    int64_t room = context - (int64_t)count;
    slip_query query = {
        .prompt = ids,
        .prompt_count = (int32_t)count,
        .max_tokens = (int32_t)(job->options->max_tokens < room ? job->options->max_tokens : room),
        .sampling = job->options->sampling,
    };
    slip_continuation_start(text, job->tokenizer, NULL, 0);
    slip_status status = slip_decoder_admit(job->decoder, 0, &query);
    if (status == SLIP_OK)
        status = stream(job, text);
    if (status == SLIP_OK)
        slip_decoder_release(job->decoder, 0);
    return status;
}

slip_status slip_generate(slip_job *job)
{
    int32_t *ids = NULL;
    size_t count = 0;
    int64_t context = 0;
    slip_continuation text = {0};
    bool coordinator = slip_comm_rank(job->comm) == 0;
    slip_status status = slip_job_open(job);
    if (status != SLIP_OK)
        return status;
    if (coordinator)
        status = slip_job_encode(job, job->options->prompt, strlen(job->options->prompt), 0, &ids, &count);
    if (coordinator && status == SLIP_OK)
        status = check_length(job, count, &context);
    status = slip_job_start(job, status, 1, context, NULL);
    if (coordinator && status == SLIP_OK)
        status = decode(job, ids, count, context, &text);
    if (coordinator && status == SLIP_OK)
        status = slip_job_end(job);
    if (coordinator && status == SLIP_OK)
        status = slip_job_report(job, text.bytes ? text.bytes : "", text.size);
    slip_continuation_free(&text);
    free(ids);
    return status;
}
