/* MiMo-V2.6's chat template, in which every message is a turn of its own. */
#include "ranks/model/mimo_v2/chat.h"
#include "ranks/model/mimo_v2/chat_tools.h"
#include "ranks/model/mimo_v2/chat_value.h"

static slip_status put_tools(slip_text *text, const json_t *messages, const json_t *tools, size_t *first)
{
    (void)messages, (void)first;
    if (tools == NULL || json_is_null(tools) || (json_is_array(tools) && json_array_size(tools) == 0))
        return SLIP_OK;
    slip_chat_open_turn(text, "system");
    slip_status status = slip_chat_put_tools_as_json(text, tools);
    slip_chat_close_turn(text);
    return status;
}

static slip_status put_message(slip_text *text, size_t index, size_t first, const json_t *messages, bool open);

/* Reasoning that was left inside the content stays there. */
static const slip_chat_form form = {
    .begin = put_tools, .put_message = put_message, .put_answer = slip_chat_put_reasoned, .put_value = slip_chat_put_json, .newline = ""};

static slip_status put_message(slip_text *text, size_t index, size_t first, const json_t *messages, bool open)
{
    const json_t *message = json_array_get(messages, index);
    (void)first;
    return slip_chat_role_is(message, "assistant") ? slip_chat_put_assistant(text, index, message, open, &form)
                                                   : slip_chat_put_plain(text, index, message);
}

slip_status slip_mimo_v2_6_chat(const json_t *messages, const json_t *tools, bool thinking, slip_chat_ending ending, char **text,
                                size_t *size)
{
    return slip_chat_render_form(&form, messages, tools, thinking, ending, text, size);
}
