#include "io/openai/request_body.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/hash.h"
#include "io/base/json.h"

slip_status slip_request_wrong_value(slip_request *request, const char *param, const char *expected,
                                     const json_t *value)
{
    char *shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    slip_request_refuse(request, 400, "invalid_value", param, "%s must be %s, not %.80s", param, expected,
                        shown != NULL ? shown : "this");
    free(shown);
    return SLIP_ERR_INPUT;
}

static slip_status no_memory(const char *what, size_t size)
{
    return slip_fail(SLIP_ERR_FAILED, "no memory for a %s of %zu bytes", what, size);
}

static slip_status copy_string(const json_t *string, const char *what, char **copy)
{
    char *text = strdup(json_string_value(string));
    if (text == NULL)
        return no_memory(what, json_string_length(string));
    *copy = text;
    return SLIP_OK;
}

static slip_status read_model(const json_t *body, slip_request *request)
{
    const json_t *model = slip_json_given(body, "model");
    if (model != NULL && !json_is_string(model))
        return slip_request_wrong_value(request, "model", "a string", model);
    if (model != NULL)
        return copy_string(model, "model", &request->model);
    request->model = strdup("slipstream");
    return request->model != NULL ? SLIP_OK : no_memory("model", sizeof "slipstream");
}

static slip_status read_bool(const json_t *object, const char *name, slip_request *request, bool *value)
{
    const json_t *member = slip_json_given(object, name);
    if (member == NULL)
        return SLIP_OK;
    if (!json_is_boolean(member))
        return slip_request_wrong_value(request, name, "true or false", member);
    *value = json_is_true(member);
    return SLIP_OK;
}

/* max_tokens and its newer name; both may be there if they agree. */
static slip_status read_max_tokens(const json_t *body, const slip_request_defaults *defaults, slip_request *request)
{
    static const char *const names[] = {"max_tokens", "max_completion_tokens"};
    int32_t given = 0;
    for (int i = 0; i < 2; i++) {
        const json_t *member = slip_json_given(body, names[i]);
        if (member == NULL)
            continue;
        json_int_t number = json_integer_value(member);
        if (!json_is_integer(member) || number < 1 || number > INT32_MAX)
            return slip_request_wrong_value(request, names[i], "an integer of at least 1", member);
        if (given != 0 && given != number)
            return slip_request_wrong_value(request, names[i], "equal to max_tokens", member);
        given = (int32_t)number;
    }
    request->max_tokens = given != 0 ? given : defaults->max_tokens;
    return SLIP_OK;
}

static slip_status add_stop(const json_t *stop, slip_request *request)
{
    if (!json_is_string(stop) || json_string_length(stop) == 0)
        return slip_request_wrong_value(request, "stop", "made of strings that are not empty", stop);
    slip_status status = copy_string(stop, "stop", &request->stops[request->stop_count]);
    if (status == SLIP_OK)
        request->stop_count++;
    return status;
}

static slip_status read_stops(const json_t *body, slip_request *request)
{
    const json_t *member = slip_json_given(body, "stop");
    if (member == NULL)
        return SLIP_OK;
    if (!json_is_array(member))
        return add_stop(member, request);
    if (json_array_size(member) > SLIP_MAX_STOPS)
        return slip_request_refuse(request, 400, "invalid_value", "stop",
                                   "stop holds %zu strings; at most %d are served", json_array_size(member),
                                   SLIP_MAX_STOPS);
    slip_status status = SLIP_OK;
    for (size_t i = 0; i < json_array_size(member) && status == SLIP_OK; i++)
        status = add_stop(json_array_get(member, i), request);
    return status;
}

static slip_status read_token_ids(const json_t *ids, slip_request *request)
{
    size_t count = json_array_size(ids);
    int32_t *list = malloc(count * sizeof *list);
    if (list == NULL)
        return no_memory("prompt", count * sizeof *list);
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number < 0 || number > INT32_MAX) {
            free(list);
            return slip_request_wrong_value(request, "prompt", "made of token ids", id);
        }
        list[i] = (int32_t)number;
    }
    request->prompt_ids = list;
    request->prompt_ids_count = count;
    return SLIP_OK;
}

/* A string, an array of one string, or an array of token ids. */
static slip_status read_prompt(const json_t *body, slip_request *request)
{
    const json_t *prompt = slip_json_given(body, "prompt");
    if (prompt == NULL)
        return slip_request_refuse(request, 400, "missing_field", "prompt", "prompt is missing");
    const json_t *first = json_array_get(prompt, 0);
    if (json_array_size(prompt) > 1 && !json_is_integer(first))
        return slip_request_refuse(request, 400, "unsupported", "prompt",
                                   "prompt holds %zu prompts; only one a line is served",
                                   json_array_size(prompt));
    if (json_is_integer(first))
        return read_token_ids(prompt, request);
    const json_t *text = json_is_array(prompt) ? first : prompt;
    if (!json_is_string(text) || json_string_length(text) == 0)
        return slip_request_wrong_value(request, "prompt", "a string that is not empty, or an array of token ids", prompt);
    request->prompt_size = json_string_length(text);
    return copy_string(text, "prompt", &request->prompt);
}

/* Thinking is on unless enable_thinking or, asked last, chat_template_kwargs.enable_thinking says no. */
static slip_status read_thinking(const json_t *body, slip_request *request, bool *thinking)
{
    slip_status status = read_bool(body, "enable_thinking", request, thinking);
    if (status != SLIP_OK)
        return status;
    const json_t *options = slip_json_given(body, "chat_template_kwargs");
    if (options != NULL && !json_is_object(options))
        return slip_request_wrong_value(request, "chat_template_kwargs", "an object", options);
    return read_bool(options, "enable_thinking", request, thinking);
}

/* The tools that the model shall see: tool_choice "none" hides them, and we cannot force a call. */
static slip_status read_tools(const json_t *body, slip_request *request, const json_t **tools)
{
    const json_t *choice = slip_json_given(body, "tool_choice");
    const char *name = choice == NULL ? "auto" : json_string_value(choice);
    if (name == NULL || (strcmp(name, "none") != 0 && strcmp(name, "auto") != 0))
        return slip_request_refuse(request, 400, "unsupported", "tool_choice",
                                   "tool_choice: only \"none\" and \"auto\" are served");
    *tools = strcmp(name, "none") == 0 ? NULL : slip_json_given(body, "tools");
    return SLIP_OK;
}

static slip_status read_messages(const json_t *body, const slip_request_defaults *defaults, slip_request *request)
{
    const json_t *messages = slip_json_given(body, "messages");
    if (messages == NULL)
        return slip_request_refuse(request, 400, "missing_field", "messages", "messages is missing");
    bool thinking = true;
    const json_t *tools = NULL;
    slip_status status;
    if ((status = read_thinking(body, request, &thinking)) != SLIP_OK ||
        (status = read_tools(body, request, &tools)) != SLIP_OK)
        return status;
    const slip_family *family = defaults->family != NULL ? defaults->family : slip_families[0];
    if (family->chat == NULL)
        return slip_request_refuse(request, 400, "unsupported", "messages",
                                   "messages: this model family has no chat template; /v1/completions takes a text");
    status = family->chat(messages, tools, thinking, &request->prompt, &request->prompt_size);
    if (status == SLIP_ERR_INPUT) {
        slip_request_refuse(request, 400, "invalid_value", "messages", "%s", slip_cause());
        slip_clear(); /* the refusal answers it */
    }
    return status;
}

slip_status slip_request_body(const json_t *body, const slip_request_defaults *defaults,
                              slip_request *request)
{
    slip_status status;
    if ((status = slip_request_unsupported(body, request)) != SLIP_OK ||
        (status = read_model(body, request)) != SLIP_OK ||
        (status = read_max_tokens(body, defaults, request)) != SLIP_OK ||
        (status = slip_request_sampling(body, defaults, request)) != SLIP_OK ||
        (status = read_stops(body, request)) != SLIP_OK)
        return status;
    if (request->chat)
        return read_messages(body, defaults, request);
    if ((status = read_bool(body, "echo", request, &request->echo)) != SLIP_OK)
        return status;
    return read_prompt(body, request);
}
