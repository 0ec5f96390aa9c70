#include "coordinator/serve/task.h"

#include <stdlib.h>
#include <string.h>

/* The context of a choice's sink. */
typedef struct {
    slip_task *task;
    int32_t index;
} choice;

struct slip_task {
    slip_request request;
    slip_ready_prompt *prompts; /* [request.prompt_count] */
    slip_task_end end;
    void *context;
    int32_t count, submitted, ended;
    bool given_up;
    choice *choices;      /* [count] */
    slip_answer *answers; /* [count]; text and ids are the task's */
};

slip_status slip_task_create(slip_request *request, slip_ready_prompt *prompts, slip_task_end end, void *context, slip_task **task)
{
    slip_task *made = calloc(1, sizeof *made);
    int32_t count = slip_request_choices(request);
    if (!made) {
        slip_admission_free(prompts, request->prompt_count);
        slip_request_free(request);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a request");
    }
    *made = (slip_task){*request,
                        prompts,
                        end,
                        context,
                        .count = count,
                        .choices = calloc((size_t)count, sizeof(choice)),
                        .answers = calloc((size_t)count, sizeof(slip_answer))};
    *request = (slip_request){0};
    if (!made->choices || !made->answers) {
        slip_task_free(made);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d answers", count);
    }
    *task = made;
    return SLIP_OK;
}

void slip_task_free(slip_task *task)
{
    for (int32_t i = 0; task->answers && i < task->count; i++) {
        free((char *)task->answers[i].text);
        free((int32_t *)task->answers[i].ids);
    }
    slip_admission_free(task->prompts, task->request.prompt_count);
    slip_request_free(&task->request);
    free(task->choices);
    free(task->answers);
    free(task);
}

const slip_request *slip_task_request(const slip_task *task)
{
    return &task->request;
}

static const slip_ready_prompt *prompt_of(const slip_task *task, int32_t index)
{
    return &task->prompts[index / task->request.n];
}

/* The text of a choice, behind its prompt where the request echoes it. */
static char *copy_text(const slip_task *task, int32_t index, const slip_completion *c, size_t *size)
{
    const slip_prompt *prompt = slip_request_prompt(&task->request, index);
    size_t echoed = task->request.echo ? prompt->size : 0;
    char *text = malloc(echoed + c->text_size + 1);
    if (!text)
        return NULL;
    if (echoed)
        memcpy(text, prompt->text, echoed);
    memcpy(text + echoed, c->text, c->text_size);
    *size = echoed + c->text_size;
    return text;
}

static int32_t *copy_ids(const slip_completion *c)
{
    int32_t *ids = malloc((size_t)c->completion_tokens * sizeof *ids + 1);
    if (ids)
        memcpy(ids, c->tokens, (size_t)c->completion_tokens * sizeof *ids);
    return ids;
}

static slip_status keep_answer(slip_task *task, int32_t index, const slip_completion *c)
{
    slip_answer *answer = &task->answers[index];
    *answer = (slip_answer){
        .finish_reason = c->finish_reason,
        .admission = c->admission,
        .prompt_tokens = c->prompt_tokens,
        .completion_tokens = c->completion_tokens,
        .prompt_ids = prompt_of(task, index)->ids,
        .spec_steps = c->acceptance.steps,
        .accepted_draft_tokens = c->acceptance.accepted,
        .draft_tokens = c->acceptance.draft_tokens,
        .time_to_first_token_ms = c->time_to_first_token_ms,
        .total_ms = c->total_ms,
    };
    answer->text = copy_text(task, index, c, &answer->text_size);
    answer->ids = task->request.return_token_ids ? copy_ids(c) : NULL;
    return answer->text && (answer->ids || !task->request.return_token_ids)
               ? SLIP_OK
               : slip_fail(SLIP_ERR_FAILED, "out of memory for an answer of %zu bytes", c->text_size);
}

static slip_status end_choice(void *context, const slip_completion *c)
{
    const choice *ended = context;
    slip_task *task = ended->task;
    if (!c->finish_reason)
        task->given_up = true;
    if (c->error)
        slip_request_fail(&task->request, "not_finite", c->error);
    slip_status status = c->finish_reason ? keep_answer(task, ended->index, c) : SLIP_OK;
    task->ended++;
    bool last = task->ended == (task->given_up ? task->submitted : task->count);
    return status == SLIP_OK && last ? task->end(task->context, task, task->given_up ? NULL : task->answers) : status;
}

bool slip_task_waits(const slip_task *task)
{
    return task->submitted < task->count && !task->given_up;
}

slip_status slip_task_submit(slip_task *task, slip_serve *serve)
{
    int32_t index = task->submitted++;
    const slip_ready_prompt *prompt = prompt_of(task, index);
    task->choices[index] = (choice){task, index};
    slip_serve_request request = {
        .query =
            {
                .prompt = prompt->ids,
                .prompt_count = (int32_t)prompt->count,
                .max_tokens = prompt->max_tokens,
                .sampling = task->request.sampling,
            },
        .stops = task->request.stops,
        .stop_count = task->request.stop_count,
        .sink = {.end = end_choice, .context = &task->choices[index]},
    };
    request.query.sampling.seed = slip_request_seed(&task->request, index);
    return slip_serve_submit(serve, &request, NULL);
}
