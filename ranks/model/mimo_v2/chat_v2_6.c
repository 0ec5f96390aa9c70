/* MiMo-V2.6's chat template, in which every message is a turn of its own. */
#include "io/base/json.h"
#include "io/base/text.h"
#include "ranks/model/mimo_v2/chat.h"
#include "ranks/model/mimo_v2/chat_tools.h"
#include "ranks/model/mimo_v2/chat_value.h"

static void put_arguments(slip_text *text, json_t *arguments)
{
    const char *name;
    json_t *value;
    json_object_foreach (arguments, name, value) {
        slip_text_puts(text, "<parameter=");
        slip_text_puts(text, name);
        slip_text_puts(text, ">");
        if (json_is_string(value))
            slip_text_add(text, json_string_value(value), json_string_length(value));
        else
            slip_chat_put_json(text, value);
        slip_text_puts(text, "</parameter>");
    }
}

static slip_status put_call(slip_text *text, size_t index, size_t call_index, const json_t *call)
{
    const char *name;
    json_t *arguments;
    slip_status status = slip_chat_take_call(index, call_index, call, &name, &arguments);
    if (status != SLIP_OK)
        return status;
    slip_text_puts(text, "<tool_call><function=");
    slip_text_puts(text, name);
    slip_text_puts(text, ">");
    put_arguments(text, arguments);
    slip_text_puts(text, "</function></tool_call>");
    json_decref(arguments);
    return SLIP_OK;
}

/* Reasoning that was left inside the content stays there. */
static slip_status put_assistant(slip_text *text, size_t index, const json_t *message, bool open)
{
    const json_t *calls = slip_json_given(message, "tool_calls"), *reasoning = slip_json_given(message, "reasoning_content");
    if (calls != NULL && !json_is_array(calls))
        return slip_chat_refuse(index, ".tool_calls", "is not an array");
    if (reasoning != NULL && !json_is_string(reasoning))
        return slip_chat_refuse(index, ".reasoning_content", "is not a string");
    slip_chat_open_turn(text, "assistant");
    slip_text_puts(text, "<think>");
    slip_text_add(text, reasoning != NULL ? json_string_value(reasoning) : "", json_string_length(reasoning));
    slip_text_puts(text, "</think>");
    slip_status status = slip_chat_put_content(text, index, message);
    for (size_t i = 0; i < json_array_size(calls) && status == SLIP_OK; i++)
        status = put_call(text, index, i, json_array_get(calls, i));
    if (!open)
        slip_chat_close_turn(text);
    return status;
}

static slip_status put_message(slip_text *text, size_t index, const json_t *message, bool open)
{
    static const char *const plain[] = {"user", "system", "tool", NULL};
    if (slip_chat_role_is(message, "assistant"))
        return put_assistant(text, index, message, open);
    for (const char *const *role = plain; *role != NULL; role++)
        if (slip_chat_role_is(message, *role))
            return slip_chat_put_plain(text, index, message, *role);
    return slip_chat_refuse(index, ".role", "is none of system, user, assistant and tool");
}

static slip_status put_tools(slip_text *text, const json_t *tools)
{
    if (tools == NULL || json_is_null(tools) || (json_is_array(tools) && json_array_size(tools) == 0))
        return SLIP_OK;
    slip_chat_open_turn(text, "system");
    slip_status status = slip_chat_put_tools_as_json(text, tools);
    slip_chat_close_turn(text);
    return status;
}

slip_status slip_mimo_v2_6_chat(const json_t *messages, const json_t *tools, bool thinking, slip_chat_ending ending, char **text,
                                size_t *size)
{
    slip_text prompt = {0};
    size_t count = json_array_size(messages);
    if (count == 0)
        return slip_fail(SLIP_ERR_INPUT, "messages is not an array of at least one message");
    slip_status status = ending == SLIP_CHAT_CONTINUE ? slip_chat_check_open(count - 1, json_array_get(messages, count - 1)) : SLIP_OK;
    if (status == SLIP_OK)
        status = put_tools(&prompt, tools);
    for (size_t i = 0; i < count && status == SLIP_OK; i++)
        status = put_message(&prompt, i, json_array_get(messages, i), ending == SLIP_CHAT_CONTINUE && i == count - 1);
    if (status != SLIP_OK) {
        slip_text_free(&prompt);
        return status;
    }
    if (ending == SLIP_CHAT_CUE) {
        slip_chat_open_turn(&prompt, "assistant");
        slip_text_puts(&prompt, thinking ? "" : "<think></think>");
    }
    return slip_text_take(&prompt, text, size);
}
