#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "io/base/json.h"
#include "io/openai/request_body.h"

/* The value with which a field asks for nothing and may stay. */
typedef enum { ONLY_FALSE, ONLY_TRUE, ONLY_EMPTY, ONLY_NUMBER, ONLY_NULL } inert_value;

enum { CHAT = 1, TEXT = 2, BOTH = CHAT | TEXT };

/* Fields of OpenAI's API, and of other servers', that would change the answer if they were served. Passing over
 * one of these in silence would make a wrong answer, so the line is refused instead. */
static const struct {
    const char *name;
    int urls;
    inert_value inert;
    double number;
} unsupported[] = {
    {"stream", BOTH, ONLY_FALSE, 0},
    {"stream_options", BOTH, ONLY_NULL, 0},
    {"n", BOTH, ONLY_NUMBER, 1},
    {"best_of", BOTH, ONLY_NUMBER, 1},
    {"logprobs", BOTH, ONLY_FALSE, 0},
    {"top_logprobs", CHAT, ONLY_NUMBER, 0},
    {"prompt_logprobs", BOTH, ONLY_NULL, 0},
    {"logit_bias", BOTH, ONLY_EMPTY, 0},
    {"presence_penalty", BOTH, ONLY_NUMBER, 0},
    {"frequency_penalty", BOTH, ONLY_NUMBER, 0},
    {"repetition_penalty", BOTH, ONLY_NUMBER, 1},
    {"min_tokens", BOTH, ONLY_NUMBER, 0},
    {"ignore_eos", BOTH, ONLY_FALSE, 0},
    {"stop_token_ids", BOTH, ONLY_EMPTY, 0},
    {"suffix", TEXT, ONLY_EMPTY, 0},
    {"echo", CHAT, ONLY_FALSE, 0},
    {"messages", TEXT, ONLY_NULL, 0},
    {"tools", TEXT, ONLY_EMPTY, 0},
    {"tool_choice", TEXT, ONLY_NULL, 0},
    {"functions", BOTH, ONLY_EMPTY, 0},
    {"function_call", BOTH, ONLY_NULL, 0},
    {"reasoning_effort", BOTH, ONLY_NULL, 0},
    {"modalities", BOTH, ONLY_NULL, 0},
    {"audio", BOTH, ONLY_NULL, 0},
    {"prediction", BOTH, ONLY_NULL, 0},
    {"web_search_options", BOTH, ONLY_NULL, 0},
    {"chat_template", CHAT, ONLY_NULL, 0},
    {"add_generation_prompt", CHAT, ONLY_TRUE, 0},
    {"continue_final_message", CHAT, ONLY_FALSE, 0},
};

/* Does the value ask for nothing? If not, *hint says which would. */
static bool is_inert(const json_t *value, inert_value inert, double number, char hint[static 64])
{
    switch (inert) {
    case ONLY_FALSE: snprintf(hint, 64, "only false is served"); return json_is_false(value);
    case ONLY_TRUE: snprintf(hint, 64, "only true is served"); return json_is_true(value);
    case ONLY_NULL: snprintf(hint, 64, "it is not served"); return false;
    case ONLY_NUMBER:
        snprintf(hint, 64, "only %g is served", number);
        return json_is_number(value) && json_number_value(value) == number;
    case ONLY_EMPTY: break;
    }
    snprintf(hint, 64, "only an empty value is served");
    return (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

slip_status slip_request_unsupported(const json_t *body, slip_request *request)
{
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        const json_t *value = slip_json_given(body, unsupported[i].name);
        char hint[64];
        if (value == NULL || (unsupported[i].urls & (request->chat ? CHAT : TEXT)) == 0)
            continue;
        if (!is_inert(value, unsupported[i].inert, unsupported[i].number, hint))
            return slip_request_refuse(request, 400, "unsupported", unsupported[i].name, "%s: %s",
                                       unsupported[i].name, hint);
    }
    const json_t *format = slip_json_given(body, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (format != NULL && (type == NULL || strcmp(type, "text") != 0))
        return slip_request_refuse(request, 400, "unsupported", "response_format",
                                   "response_format: only {\"type\": \"text\"} is served");
    return SLIP_OK;
}
