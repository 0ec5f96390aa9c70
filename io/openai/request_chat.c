/* A chat request's messages and tools become the prompt; the answer's text becomes a message. Both by the model's template. */
#include <stdlib.h>
#include <string.h>

#include "io/base/json.h"
#include "io/openai/request_body.h"

static slip_status unsupported(slip_request *request, const char *param, const char *served)
{
    return slip_request_refuse(request, 400, "unsupported", param, "%s: only %s served", param, served);
}

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

/* The template can think or not think: "none" is not, every other effort is to think. */
static slip_status read_effort(const json_t *body, slip_request *request, bool *thinking)
{
    static const char *const efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max", NULL};
    const json_t *member = slip_json_given(body, "reasoning_effort");
    const char *effort = json_string_value(member);
    if (member == NULL)
        return SLIP_OK;
    if (effort == NULL || !is_one_of(effort, efforts))
        return slip_request_wrong_value(request, "reasoning_effort", "none, minimal, low, medium, high, xhigh or max", member);
    *thinking = strcmp(effort, "none") != 0;
    return SLIP_OK;
}

/* MiMo's own API: thinking {"type": "enabled" or "disabled"}. */
static slip_status read_thinking_type(const json_t *body, slip_request *request, bool *thinking)
{
    const json_t *member = slip_json_given(body, "thinking");
    const char *type = json_string_value(json_object_get(member, "type"));
    if (member == NULL)
        return SLIP_OK;
    if (type == NULL || json_object_size(member) != 1 || (strcmp(type, "enabled") != 0 && strcmp(type, "disabled") != 0))
        return unsupported(request, "thinking", "{\"type\": \"enabled\"} and {\"type\": \"disabled\"} are");
    *thinking = strcmp(type, "enabled") == 0;
    return SLIP_OK;
}

/* What the template would see. Reasoning of earlier turns is always kept. */
static slip_status read_template_argument(const char *name, const json_t *value, slip_request *request, int *thinking)
{
    bool thinks = strcmp(name, "enable_thinking") == 0 || strcmp(name, "thinking") == 0;
    if (json_is_null(value) || (strcmp(name, "keep_all_reasoning") == 0 && json_is_true(value)))
        return SLIP_OK;
    if (!thinks)
        return slip_request_refuse(request, 400, "unsupported", "chat_template_kwargs",
                                   "chat_template_kwargs.%.80s: only enable_thinking, its other name thinking, and keep_all_reasoning "
                                   "true are served",
                                   name);
    if (!json_is_boolean(value))
        return slip_request_refuse(request, 400, "invalid_value", "chat_template_kwargs", "chat_template_kwargs.%s must be true or false",
                                   name);
    if (*thinking >= 0 && *thinking != json_is_true(value))
        return slip_request_refuse(request, 400, "invalid_value", "chat_template_kwargs",
                                   "chat_template_kwargs: enable_thinking and thinking disagree");
    *thinking = json_is_true(value);
    return SLIP_OK;
}

static slip_status read_template_arguments(const json_t *body, slip_request *request, bool *thinking)
{
    json_t *arguments = slip_json_given(body, "chat_template_kwargs"), *value;
    const char *name;
    int given = -1; /* neither */
    if (arguments != NULL && !json_is_object(arguments))
        return slip_request_wrong_value(request, "chat_template_kwargs", "an object", arguments);
    json_object_foreach (arguments, name, value) {
        slip_status status = read_template_argument(name, value, request, &given);
        if (status != SLIP_OK)
            return status;
    }
    *thinking = given < 0 ? *thinking : given;
    return SLIP_OK;
}

/* A request that does not say thinks as the template would by itself. The nearer a field is to the template, the more it counts. */
static slip_status read_thinking(const json_t *body, slip_request *request, bool *thinking)
{
    slip_status status;
    if ((status = read_effort(body, request, thinking)) != SLIP_OK || (status = read_thinking_type(body, request, thinking)) != SLIP_OK ||
        (status = slip_request_bool(body, "enable_thinking", request, thinking)) != SLIP_OK)
        return status;
    return read_template_arguments(body, request, thinking);
}

/* The tools that the model shall see: tool_choice "none" hides them, and we cannot force a call. */
static slip_status read_tools(const json_t *body, slip_request *request)
{
    const json_t *choice = slip_json_given(body, "tool_choice");
    const char *name = choice == NULL ? "auto" : json_string_value(choice);
    bool parallel = true;
    if (name == NULL || (strcmp(name, "none") != 0 && strcmp(name, "auto") != 0))
        return unsupported(request, "tool_choice", "\"none\" and \"auto\" are");
    json_t *tools = strcmp(name, "none") == 0 ? NULL : slip_json_given(body, "tools");
    slip_status status = slip_request_bool(body, "parallel_tool_calls", request, &parallel);
    request->reading.tools = json_incref(tools);
    request->reading.one_call = !parallel && json_array_size(tools) > 0;
    return status;
}

/* As vLLM has it, but that a final message that is to be continued needs no word that no cue follows it. */
static slip_status read_ending(const json_t *body, slip_request *request, slip_chat_ending *ending)
{
    bool cue = true, continues = false;
    slip_status status = slip_request_bool(body, "add_generation_prompt", request, &cue);
    if (status == SLIP_OK)
        status = slip_request_bool(body, "continue_final_message", request, &continues);
    if (status == SLIP_OK && continues && cue && slip_json_given(body, "add_generation_prompt") != NULL)
        return slip_request_refuse(request, 400, "invalid_value", "continue_final_message",
                                   "continue_final_message and add_generation_prompt cannot both be true");
    request->reading.continues = continues;
    *ending = continues ? SLIP_CHAT_CONTINUE : cue ? SLIP_CHAT_CUE : SLIP_CHAT_NO_CUE;
    return status;
}

/* The messages with the role that OpenAI's newer models have for instructions under its older name, which the template
 * knows. NULL when memory fails. */
static json_t *without_developer(const json_t *messages)
{
    json_t *copy = json_copy((json_t *)messages);
    for (size_t i = 0; i < json_array_size(copy); i++) {
        const json_t *message = json_array_get(copy, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (role == NULL || strcmp(role, "developer") != 0)
            continue;
        json_t *renamed = json_copy((json_t *)message);
        if (json_object_set_new(renamed, "role", json_string("system")) != 0 || json_array_set_new(copy, i, renamed) != 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

/* null, false, "", [] and {} ask for nothing. */
static bool asks_for_nothing(const json_t *value)
{
    return json_is_null(value) || json_is_false(value) || (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) || (json_is_object(value) && json_object_size(value) == 0);
}

/* As below, of a part of a text; parts of another type are refused as a whole. */
static slip_status check_parts(const json_t *content, size_t message, slip_request *request)
{
    static const char *const known[] = {"type", "text", "id", "annotations", "cache_control", "metadata", NULL};
    size_t i;
    json_t *part, *value;
    const char *name, *type;
    json_array_foreach (content, i, part) {
        if ((type = json_string_value(json_object_get(part, "type"))) == NULL || strcmp(type, "text") != 0)
            continue;
        json_object_foreach (part, name, value) {
            if (!is_one_of(name, known) && !asks_for_nothing(value))
                return slip_request_refuse(request, 400, "unsupported", "messages",
                                           "messages[%zu].content[%zu].%.80s: of a part of type text only text is served", message, i,
                                           name);
        }
    }
    return SLIP_OK;
}

/* A member of a message that no template sees would be passed over: a prefix that is to be continued, reasoning under another name. Those that
 * never change a prompt pass. */
static slip_status check_members(const json_t *messages, slip_request *request)
{
    static const char *const known[] = {"role",        "content",       "reasoning_content", "tool_calls", "tool_call_id", "name", "id",
                                        "annotations", "cache_control", "metadata",          NULL};
    size_t i;
    json_t *message, *value;
    const char *name;
    json_array_foreach (messages, i, message) {
        json_object_foreach (message, name, value) {
            if (!is_one_of(name, known) && !asks_for_nothing(value))
                return slip_request_refuse(
                    request, 400, "unsupported", "messages",
                    "messages[%zu].%.80s: only role, content, reasoning_content, tool_calls and tool_call_id are served", i, name);
        }
        slip_status status = check_parts(json_object_get(message, "content"), i, request);
        if (status != SLIP_OK)
            return status;
    }
    return SLIP_OK;
}

static slip_status render(const slip_chat_template *chat, const json_t *given, bool thinking, slip_chat_ending ending,
                          slip_request *request)
{
    json_t *messages = without_developer(given);
    request->prompts = calloc(1, sizeof *request->prompts);
    if (messages == NULL || request->prompts == NULL) {
        json_decref(messages);
        return slip_fail(SLIP_ERR_FAILED, "no memory for the messages of a request");
    }
    request->prompt_count = 1;
    slip_prompt *prompt = request->prompts;
    slip_status status = chat->render(messages, request->reading.tools, thinking, ending, &prompt->text, &prompt->size);
    json_decref(messages);
    if (status == SLIP_ERR_INPUT) {
        const char *param = strncmp(slip_cause(), "tools", strlen("tools")) == 0 ? "tools" : "messages"; /* a cause begins with its place */
        slip_request_refuse(request, 400, "invalid_value", param, "%s", slip_cause());
        slip_clear(); /* the refusal answers it */
    }
    return status;
}

static slip_status refuse_unknown_template(const slip_request_defaults *defaults, slip_request *request)
{
    char names[200];
    slip_chat_template_names(request->family->chat_templates, names, sizeof names);
    return slip_request_refuse(request, 400, "unsupported", "messages",
                               "messages: the model's chat template (SHA-256 %.16s...) is not known; --chat-template NAME says which of %s "
                               "it is like, and /v1/completions takes a text",
                               defaults->unknown_chat, names);
}

slip_status slip_request_chat(const json_t *body, const slip_request_defaults *defaults, slip_request *request)
{
    const slip_family *family = request->family = defaults->family != NULL ? defaults->family : slip_families[0];
    if (family->chat_templates == NULL)
        return slip_request_refuse(request, 400, "unsupported", "messages",
                                   "messages: this model family has no chat template; /v1/completions takes a text");
    if (defaults->chat == NULL && defaults->unknown_chat != NULL)
        return refuse_unknown_template(defaults, request);
    const json_t *messages = slip_json_given(body, "messages");
    const slip_chat_template *chat = defaults->chat != NULL ? defaults->chat : family->chat_templates;
    bool thinking = chat->thinks;
    slip_chat_ending ending = SLIP_CHAT_CUE;
    slip_status status;
    if (messages == NULL)
        return slip_request_refuse(request, 400, "missing_field", "messages", "messages is missing");
    if ((status = read_thinking(body, request, &thinking)) != SLIP_OK || (status = read_tools(body, request)) != SLIP_OK ||
        (status = read_ending(body, request, &ending)) != SLIP_OK || (status = check_members(messages, request)) != SLIP_OK)
        return status;
    return render(chat, messages, thinking, ending, request);
}

slip_status slip_request_read_answer(const slip_request *request, const char *text, size_t size, slip_chat_answer *parts)
{
    enum { PIECE = 4096 }; /* what is done with is moved out of the way at each part that ends */
    *parts = (slip_chat_answer){.reading = request->reading};
    for (size_t at = 0; at < size; at += PIECE)
        request->family->answer_feed(parts, text + at, size - at < PIECE ? size - at : PIECE);
    request->family->answer_finish(parts);
    if (!parts->failed)
        return SLIP_OK;
    slip_chat_answer_free(parts);
    return slip_fail(SLIP_ERR_FAILED, "an answer of %zu bytes cannot be read: no memory, or not UTF-8", size);
}
