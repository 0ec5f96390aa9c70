#include "coordinator/serve/task.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/detokenizer.h"

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
    const slip_tokenizer *tokenizer; /* of the serving core */
    int32_t count, next, running;    /* choices: all, the one to be submitted next, those in the serving core */
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

static void free_answer(slip_answer *answer)
{
    free((char *)answer->text);
    free((int32_t *)answer->ids);
    free((slip_answer_logprob *)answer->logprobs);
}

void slip_task_free(slip_task *task)
{
    for (int32_t i = 0; task->answers && i < task->count; i++)
        free_answer(&task->answers[i]);
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

static int32_t *copy_ids(const int32_t *ids, int32_t count)
{
    int32_t *copy = malloc((size_t)count * sizeof *copy + 1);
    if (copy && count > 0)
        memcpy(copy, ids, (size_t)count * sizeof *copy);
    return copy;
}

/* What the runs before took for a choice adds to what this one took. */
static void add_earlier(slip_answer *answer, const slip_answer *earlier)
{
    answer->spec_steps += earlier->spec_steps;
    answer->accepted_draft_tokens += earlier->accepted_draft_tokens;
    answer->draft_tokens += earlier->draft_tokens;
    answer->total_ms += earlier->total_ms;
    if (earlier->completion_tokens > 0)
        answer->time_to_first_token_ms = earlier->time_to_first_token_ms;
}

static slip_answer_logprob *copy_logprobs(const slip_task *task, const slip_completion *c)
{
    size_t count = (size_t)c->completion_tokens * (1 + (size_t)task->request.top_logprobs);
    slip_answer_logprob *copy = malloc(count * sizeof *copy + 1);
    for (size_t i = 0; copy && i < count; i++) {
        copy[i].logprob = c->logprobs[i].value;
        copy[i].bytes = slip_tokenizer_bytes(task->tokenizer, c->logprobs[i].token, &copy[i].size);
    }
    return copy;
}

static slip_status keep_answer(slip_task *task, int32_t index, const slip_completion *c)
{
    slip_answer answer = {
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
    answer.text = copy_text(task, index, c, &answer.text_size);
    answer.ids = copy_ids(c->tokens, c->completion_tokens);
    answer.logprobs = task->request.logprobs ? copy_logprobs(task, c) : NULL;
    if (!answer.text || !answer.ids || (task->request.logprobs && !answer.logprobs)) {
        free_answer(&answer);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for an answer of %zu bytes", c->text_size);
    }
    add_earlier(&answer, &task->answers[index]);
    free_answer(&task->answers[index]);
    task->answers[index] = answer;
    return SLIP_OK;
}

/* Move on to the next choice that has not ended. */
static void skip_ended(slip_task *task)
{
    while (task->next < task->count && task->answers[task->next].finish_reason)
        task->next++;
}

static bool fits(const slip_task *task, const slip_answer *begun, int32_t index, int32_t vocabulary)
{
    if (!begun->finish_reason && begun->completion_tokens >= prompt_of(task, index)->max_tokens)
        return false;
    for (int32_t i = 0; i < begun->completion_tokens; i++)
        if (begun->ids[i] < 0 || begun->ids[i] >= vocabulary)
            return false;
    return true;
}

bool slip_task_resume(slip_task *task, slip_begun *begun, int32_t vocabulary)
{
    int32_t ended = 0;
    if (begun->count != task->count)
        return false;
    for (int32_t i = 0; i < task->count; i++) {
        ended += begun->choices[i].finish_reason != NULL;
        if (!fits(task, &begun->choices[i], i, vocabulary))
            return false;
    }
    if (ended == task->count)
        return false;
    for (int32_t i = 0; i < task->count; i++) {
        task->answers[i] = begun->choices[i];
        task->answers[i].prompt_ids = prompt_of(task, i)->ids;
        task->answers[i].prompt_tokens = (int32_t)prompt_of(task, i)->count;
        begun->choices[i] = (slip_answer){0};
    }
    skip_ended(task);
    return true;
}

const slip_answer *slip_task_answers(const slip_task *task)
{
    return task->answers;
}

/* Tokens of a chat's answer that are reasoning, its marks left out. */
static slip_status count_reasoning(const slip_task *task, slip_answer *answer)
{
    slip_chat_answer parts;
    int32_t before = 0, within = 0;
    if (!task->request.chat || !task->tokenizer)
        return SLIP_OK;
    slip_status status = slip_request_read_answer(&task->request, answer->text, answer->text_size, &parts);
    if (status != SLIP_OK)
        return status;
    bool special = task->request.special_tokens;
    if (parts.reasoning_end > parts.reasoning_start) {
        status = slip_detokenizer_count(task->tokenizer, special, answer->ids, answer->completion_tokens, parts.reasoning_start, &before);
        if (status == SLIP_OK)
            status = slip_detokenizer_count(task->tokenizer, special, answer->ids, answer->completion_tokens, parts.reasoning_end, &within);
    }
    slip_chat_answer_free(&parts);
    answer->reasoning_tokens = within - before;
    return status;
}

static slip_status end_task(slip_task *task)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < task->count && status == SLIP_OK && !task->given_up; i++)
        status = count_reasoning(task, &task->answers[i]);
    return status == SLIP_OK ? task->end(task->context, task, task->given_up ? NULL : task->answers) : status;
}

static slip_status end_choice(void *context, const slip_completion *c)
{
    const choice *ended = context;
    slip_task *task = ended->task;
    if (!c->finish_reason)
        task->given_up = true;
    if (c->error)
        slip_request_fail(&task->request, "not_finite", c->error);
    slip_status status = SLIP_OK;
    if (c->finish_reason || c->completion_tokens > task->answers[ended->index].completion_tokens)
        status = keep_answer(task, ended->index, c);
    task->running--;
    bool last = task->running == 0 && !slip_task_waits(task);
    return status == SLIP_OK && last ? end_task(task) : status;
}

bool slip_task_waits(const slip_task *task)
{
    return task->next < task->count && !task->given_up;
}

slip_status slip_task_submit(slip_task *task, slip_serve *serve)
{
    int32_t index = task->next++;
    const slip_ready_prompt *prompt = prompt_of(task, index);
    const slip_answer *begun = &task->answers[index];
    task->choices[index] = (choice){task, index};
    task->tokenizer = slip_serve_tokenizer(serve);
    slip_serve_request request = {
        .query =
            {
                .prompt = prompt->ids,
                .prompt_count = (int32_t)prompt->count,
                .max_tokens = prompt->max_tokens,
                .resumed = begun->ids,
                .resumed_count = begun->completion_tokens,
                .sampling = task->request.sampling,
                .wishes = {task->request.biases, task->request.bias_count, task->request.logprobs, task->request.top_logprobs},
            },
        .stops = task->request.stops,
        .stop_count = task->request.stop_count,
        .special = task->request.special_tokens,
        .sink = {.end = end_choice, .context = &task->choices[index]},
    };
    request.query.sampling.seed = slip_request_seed(&task->request, index);
    task->running++;
    skip_ended(task);
    return slip_serve_submit(serve, &request, NULL);
}
