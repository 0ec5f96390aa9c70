#include "ranks/model/mimo_v2/chat.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mimo_v2/chat_tools.h"
#include "ranks/model/mimo_v2/chat_value.h"
#include "io/base/json.h"
#include "io/base/text.h"

static const char DEFAULT_SYSTEM[] = "You are MiMo, a helpful AI assistant engineered by Xiaomi.";
static const char THINK[] = "<think>", END_THINK[] = "</think>";

slip_status slip_chat_refuse(size_t index, const char *field, const char *should)
{
    return slip_fail(SLIP_ERR_INPUT, "messages[%zu]%s %s", index, field, should);
}

bool slip_chat_role_is(const json_t *message, const char *role)
{
    const char *value = json_string_value(json_object_get(message, "role"));
    return value != NULL && strcmp(value, role) == 0;
}

/* ---- contents ---- */

/* One part of a content that comes in parts. Only text is taken. */
static slip_status put_part(slip_text *text, size_t index, size_t part_index, const json_t *part)
{
    char field[60];
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *words = json_object_get(part, "text");
    snprintf(field, sizeof field, ".content[%zu]", part_index);
    if (type == NULL)
        return slip_chat_refuse(index, field, "has no type");
    if (strcmp(type, "text") != 0)
        return slip_fail(SLIP_ERR_INPUT, "messages[%zu]%s.type is \"%.60s\"; only text is understood", index, field, type);
    if (!json_is_string(words))
        return slip_chat_refuse(index, field, "has no text");
    slip_text_add(text, json_string_value(words), json_string_length(words));
    return SLIP_OK;
}

slip_status slip_chat_put_content(slip_text *text, size_t index, const json_t *message)
{
    const json_t *content = slip_json_given(message, "content");
    if (json_is_string(content)) {
        slip_text_add(text, json_string_value(content), json_string_length(content));
        return SLIP_OK;
    }
    if (content == NULL && slip_chat_role_is(message, "assistant"))
        return SLIP_OK;
    if (!json_is_array(content))
        return slip_chat_refuse(index, ".content", "is neither a string nor an array of text parts");
    slip_status status = SLIP_OK;
    for (size_t i = 0; i < json_array_size(content) && status == SLIP_OK; i++)
        status = put_part(text, index, i, json_array_get(content, i));
    return status;
}

void slip_chat_open_turn(slip_text *text, const char *role)
{
    slip_text_puts(text, "<|im_start|>");
    slip_text_puts(text, role);
    slip_text_puts(text, "\n");
}

void slip_chat_close_turn(slip_text *text)
{
    slip_text_puts(text, "<|im_end|>");
}

/* ---- the assistant's turns ---- */

/* The last `mark` in the bytes, NULL where there is none. */
static const char *find_last(const char *bytes, size_t size, const char *mark)
{
    const char *last = NULL, *end = bytes + size;
    for (const char *at = bytes; (at = memmem(at, (size_t)(end - at), mark, strlen(mark))) != NULL; at++)
        last = at;
    return last;
}

/* Reasoning that was left inside the content: what precedes the first </think>, from the last <think> before it
 * on; what follows the last </think> is the answer. */
static void put_content_apart(slip_text *text, const char *content, size_t size)
{
    const char *end = size > 0 ? memmem(content, size, END_THINK, strlen(END_THINK)) : NULL;
    slip_text_puts(text, THINK);
    if (end != NULL) {
        const char *mark = find_last(content, (size_t)(end - content), THINK);
        const char *begin = mark != NULL ? mark + strlen(THINK) : content;
        const char *answer = find_last(content, size, END_THINK) + strlen(END_THINK);
        slip_text_add(text, begin, (size_t)(end - begin));
        size -= (size_t)(answer - content);
        content = answer;
    }
    slip_text_puts(text, END_THINK);
    slip_text_add(text, content, size);
}

slip_status slip_chat_put_reasoned(slip_text *text, size_t index, const json_t *message, const json_t *reasoning)
{
    slip_text_puts(text, THINK);
    if (reasoning != NULL)
        slip_text_add(text, json_string_value(reasoning), json_string_length(reasoning));
    slip_text_puts(text, END_THINK);
    return slip_chat_put_content(text, index, message);
}

static slip_status put_answer(slip_text *text, size_t index, const json_t *message, const json_t *reasoning)
{
    if (reasoning != NULL)
        return slip_chat_put_reasoned(text, index, message, reasoning);
    slip_text content = {0};
    slip_status status = slip_chat_put_content(&content, index, message);
    if (status == SLIP_OK)
        put_content_apart(text, content.bytes, content.size);
    text->failed |= content.failed;
    slip_text_free(&content);
    return status;
}

/* OpenAI's clients send the arguments as the text of a JSON object. Returns a new reference, NULL when it is
 * none; `error` says what the parser has against the text. */
static json_t *arguments_of(const json_t *function, json_error_t *error)
{
    json_t *given = slip_json_given(function, "arguments");
    error->text[0] = '\0';
    if (given == NULL || (json_is_string(given) && json_string_length(given) == 0))
        return json_object();
    if (json_is_string(given))
        given = json_loadb(json_string_value(given), json_string_length(given), JSON_REJECT_DUPLICATES, error);
    else
        json_incref(given);
    if (json_is_object(given))
        return given;
    json_decref(given);
    return NULL;
}

static void put_arguments(slip_text *text, json_t *arguments, const slip_chat_form *form)
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
            form->put_value(text, value);
        slip_text_puts(text, "</parameter>");
        slip_text_puts(text, form->newline);
    }
}

static slip_status put_call(slip_text *text, size_t index, size_t call_index, const json_t *call, const slip_chat_form *form)
{
    char field[60], problem[40 + JSON_ERROR_TEXT_LENGTH];
    json_error_t error;
    const json_t *function = json_object_get(call, "function");
    const char *name = json_string_value(json_object_get(function, "name"));
    snprintf(field, sizeof field, ".tool_calls[%zu].function", call_index);
    if (name == NULL || name[0] == '\0')
        return slip_chat_refuse(index, field, "has no name");
    json_t *arguments = arguments_of(function, &error);
    if (arguments == NULL) {
        snprintf(problem, sizeof problem, "has arguments that are not a JSON object%s%s", error.text[0] != '\0' ? ": " : "",
                 slip_json_fault(&error));
        return slip_chat_refuse(index, field, problem);
    }
    const char *const opening[] = {"<tool_call>", form->newline, "<function=", name, ">", form->newline};
    for (size_t i = 0; i < sizeof opening / sizeof *opening; i++)
        slip_text_puts(text, opening[i]);
    put_arguments(text, arguments, form);
    slip_text_puts(text, "</function>");
    slip_text_puts(text, form->newline);
    slip_text_puts(text, "</tool_call>");
    json_decref(arguments);
    return SLIP_OK;
}

slip_status slip_chat_put_assistant(slip_text *text, size_t index, const json_t *message, bool open, const slip_chat_form *form)
{
    const json_t *calls = slip_json_given(message, "tool_calls"), *reasoning = slip_json_given(message, "reasoning_content");
    if (calls != NULL && !json_is_array(calls))
        return slip_chat_refuse(index, ".tool_calls", "is not an array");
    if (reasoning != NULL && !json_is_string(reasoning))
        return slip_chat_refuse(index, ".reasoning_content", "is not a string");
    slip_chat_open_turn(text, "assistant");
    slip_status status = form->put_answer(text, index, message, reasoning);
    for (size_t i = 0; i < json_array_size(calls) && status == SLIP_OK; i++)
        status = put_call(text, index, i, json_array_get(calls, i), form);
    if (!open)
        slip_chat_close_turn(text);
    return status;
}

/* A turn that is to be continued has content and ends in it. */
static slip_status check_open(size_t index, const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    if (!slip_chat_role_is(message, "assistant"))
        return slip_chat_refuse(index, ".role", "is not assistant: only its turn can be continued");
    if (json_array_size(json_object_get(message, "tool_calls")) > 0)
        return slip_chat_refuse(index, ".tool_calls", "stand where the turn is to be continued");
    if (json_string_length(content) == 0 && json_array_size(content) == 0)
        return slip_chat_refuse(index, ".content", "is empty: there is nothing to continue");
    return SLIP_OK;
}

/* ---- the other turns ---- */

/* Results that follow each other share one turn; they answer an assistant, so that they never come first. */
static slip_status put_tool_result(slip_text *text, size_t index, size_t first, const json_t *messages)
{
    const json_t *message = json_array_get(messages, index);
    if (index == first)
        return slip_chat_refuse(index, "", "is a tool's result, but nothing before it called a tool");
    if (!slip_chat_role_is(json_array_get(messages, index - 1), "tool"))
        slip_chat_open_turn(text, "tool");
    slip_text_puts(text, "<tool_response>\n");
    slip_status status = slip_chat_put_content(text, index, message);
    slip_text_puts(text, "\n</tool_response>\n");
    if (!slip_chat_role_is(json_array_get(messages, index + 1), "tool"))
        slip_chat_close_turn(text);
    return status;
}

slip_status slip_chat_put_plain(slip_text *text, size_t index, const json_t *message)
{
    static const char *const roles[] = {"user", "system", "tool", NULL};
    for (const char *const *role = roles; *role != NULL; role++)
        if (slip_chat_role_is(message, *role)) {
            slip_chat_open_turn(text, *role);
            slip_status status = slip_chat_put_content(text, index, message);
            slip_chat_close_turn(text);
            return status;
        }
    return slip_chat_refuse(index, ".role", "is none of system, developer, user, assistant and tool");
}

static slip_status put_system(slip_text *text, const json_t *messages, const json_t *tools, size_t *first)
{
    slip_status status = SLIP_OK;
    *first = slip_chat_role_is(json_array_get(messages, 0), "system") ? 1 : 0;
    slip_chat_open_turn(text, "system");
    if (*first == 1)
        status = slip_chat_put_content(text, 0, json_array_get(messages, 0));
    else
        slip_text_puts(text, DEFAULT_SYSTEM);
    if (status == SLIP_OK)
        status = slip_chat_put_tools(text, tools);
    slip_chat_close_turn(text);
    return status;
}

static slip_status put_message(slip_text *text, size_t index, size_t first, const json_t *messages, bool open);

static const slip_chat_form form = {
    .begin = put_system, .put_message = put_message, .put_answer = put_answer, .put_value = slip_chat_put_value, .newline = "\n"};

static slip_status put_message(slip_text *text, size_t index, size_t first, const json_t *messages, bool open)
{
    const json_t *message = json_array_get(messages, index);
    if (slip_chat_role_is(message, "assistant"))
        return slip_chat_put_assistant(text, index, message, open, &form);
    if (slip_chat_role_is(message, "tool"))
        return put_tool_result(text, index, first, messages);
    return slip_chat_put_plain(text, index, message);
}

slip_status slip_mimo_v2_chat(const json_t *messages, const json_t *tools, bool thinking, slip_chat_ending ending, char **text,
                              size_t *size)
{
    return slip_chat_render_form(&form, messages, tools, thinking, ending, text, size);
}

/* ---- a prompt ---- */

slip_status slip_chat_render_form(const slip_chat_form *made_by, const json_t *messages, const json_t *tools, bool thinking,
                                  slip_chat_ending ending, char **text, size_t *size)
{
    slip_text prompt = {0};
    size_t first = 0, count = json_array_size(messages);
    if (count == 0)
        return slip_fail(SLIP_ERR_INPUT, "messages is not an array of at least one message");
    slip_status status = ending == SLIP_CHAT_CONTINUE ? check_open(count - 1, json_array_get(messages, count - 1)) : SLIP_OK;
    if (status == SLIP_OK)
        status = made_by->begin(&prompt, messages, tools, &first);
    for (size_t i = first; i < count && status == SLIP_OK; i++)
        status = made_by->put_message(&prompt, i, first, messages, ending == SLIP_CHAT_CONTINUE && i == count - 1);
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
