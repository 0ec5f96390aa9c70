/* slipstream generate: one prompt, its continuation streamed to standard output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/file/stdout.h"
#include "jobs/job.h"

/* The sink's context: with --json the text waits for the object that it goes into. */
typedef struct {
    bool json, shown;
    char *text;
    size_t size;
} output;

static slip_status show(void *context, const char *bytes, size_t size)
{
    output *o = context;
    if (o->json)
        return SLIP_OK;
    o->shown = true;
    fwrite(bytes, 1, size, stdout);
    return slip_stdout_flush();
}

static slip_status finish(void *context, const slip_completion *completion)
{
    output *o = context;
    if (completion->error)
        return slip_fail(SLIP_ERR_FAILED, "%s", completion->error);
    if (!o->json) {
        putchar('\n');
        return slip_stdout_flush();
    }
    o->size = completion->text_size;
    o->text = malloc(o->size + 1);
    if (!o->text)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a text of %zu bytes", o->size);
    memcpy(o->text, completion->text, o->size);
    return SLIP_OK;
}

static slip_status check_length(const slip_job *job, size_t prompt, int64_t *context)
{
    int64_t wanted = (int64_t)prompt + job->options->max_tokens;
    *context = slip_job_context(job, wanted);
    if ((int64_t)prompt >= *context)
        return slip_fail(SLIP_ERR_INPUT, "the prompt has %zu tokens and the context holds %lld: no room for an answer", prompt,
                         (long long)*context);
    if (wanted > *context && slip_options_given(job->options, "max-tokens"))
        return slip_fail(SLIP_ERR_INPUT, "-n %lld: the prompt has %zu tokens and the context holds %lld: room for %lld",
                         (long long)job->options->max_tokens, prompt, (long long)*context, (long long)*context - (long long)prompt);
    return SLIP_OK;
}

static slip_status decode(slip_job *job, const int32_t *ids, size_t count, int64_t context, output *o)
{
    int64_t room = context - (int64_t)count;
    slip_serve *serve;
    slip_status status = slip_serve_create(job->decoder, job->tokenizer, &serve);
    if (status != SLIP_OK)
        return status;
    const slip_serve_request request = {
        .query =
            {
                .prompt = ids,
                .prompt_count = (int32_t)count,
                .max_tokens = (int32_t)(job->options->max_tokens < room ? job->options->max_tokens : room),
                .sampling = slip_job_sampling(job),
            },
        .sink = {show, finish, o},
    };
    status = slip_serve_submit(serve, &request, NULL);
    if (status == SLIP_OK)
        status = slip_job_drive(job, serve);
    slip_serve_free(serve);
    if (status == SLIP_ERR_INTERRUPTED && o->shown) /* what was said next would stand on the text's last line */
        putchar('\n');
    return status;
}

slip_status slip_generate(slip_job *job)
{
    int32_t *ids = NULL;
    size_t count = 0;
    int64_t context = 0;
    output o = {.json = job->options->json};
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
        status = decode(job, ids, count, context, &o);
    if (coordinator)
        status = slip_job_end(job, status);
    job->requests = 1;
    if (coordinator && status == SLIP_OK)
        status = slip_job_report(job, o.text, o.size);
    free(o.text);
    free(ids);
    return status;
}
