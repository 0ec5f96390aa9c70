/* The prompts of a completions request: a text, token ids, or lists of either. */
#include <stdlib.h>
#include <string.h>

#include "io/base/json.h"
#include "io/openai/request_body.h"

static slip_status no_memory(size_t size)
{
    return slip_fail(SLIP_ERR_FAILED, "no memory for a prompt of %zu bytes", size);
}

static slip_status read_token_ids(const json_t *ids, slip_request *request, slip_prompt *prompt)
{
    size_t count = json_array_size(ids);
    prompt->ids = malloc(count * sizeof *prompt->ids);
    if (prompt->ids == NULL)
        return no_memory(count * sizeof *prompt->ids);
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number < 0 || number > INT32_MAX)
            return slip_request_wrong_value(request, "prompt", "made of token ids", id);
        prompt->ids[i] = (int32_t)number;
    }
    prompt->id_count = count;
    return SLIP_OK;
}

/* A string, or an array of token ids. */
static slip_status read_one(const json_t *value, slip_request *request, slip_prompt *prompt)
{
    if (json_array_size(value) > 0)
        return read_token_ids(value, request, prompt);
    if (!json_is_string(value) || json_string_length(value) == 0)
        return slip_request_wrong_value(request, "prompt", "a string that is not empty, an array of token ids, or an array of such", value);
    prompt->text = strdup(json_string_value(value));
    prompt->size = json_string_length(value);
    return prompt->text != NULL ? SLIP_OK : no_memory(prompt->size);
}

slip_status slip_request_prompts(const json_t *body, slip_request *request)
{
    const json_t *prompt = slip_json_given(body, "prompt"), *first = json_array_get(prompt, 0);
    slip_status status = slip_request_bool(body, "echo", request, &request->echo);
    if (status != SLIP_OK)
        return status;
    if (prompt == NULL)
        return slip_request_refuse(request, 400, "missing_field", "prompt", "prompt is missing");
    bool list = json_is_string(first) || json_is_array(first);
    size_t count = list ? json_array_size(prompt) : 1;
    if (count * (size_t)request->n > SLIP_MAX_CHOICES)
        return slip_request_refuse(request, 400, "invalid_value", "prompt",
                                   "prompt holds %zu prompts, %d answers each; at most %d answers a line are served", count, request->n,
                                   SLIP_MAX_CHOICES);
    request->prompts = calloc(count, sizeof *request->prompts);
    if (request->prompts == NULL)
        return no_memory(count * sizeof *request->prompts);
    request->prompt_count = (int32_t)count;
    for (size_t i = 0; i < count && status == SLIP_OK; i++)
        status = read_one(list ? json_array_get(prompt, i) : prompt, request, &request->prompts[i]);
    return status;
}
