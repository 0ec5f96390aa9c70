/* The chat templates of MiMo-V2: ChatML with no newline after <|im_end|>, and <think></think> around reasoning in every assistant turn.
 * Rendering makes text; special tokens in it are then encoded as such.
 *
 *     <|im_start|>system\n...<|im_end|><|im_start|>user\n...<|im_end|><|im_start|>assistant\n
 *
 * MiMo-V2-Flash and V2.5 differ in whether they think by default: a default system turn, in which the tools are listed as XML. V2.6 has
 * no default system turn; the tools are JSON in a system turn of their own, before all others, and calls have no newlines.
 */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_CHAT_H
#define SLIP_RANKS_MODEL_MIMO_V2_CHAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "io/base/status.h"
#include "io/base/text.h"
#include "ranks/model/chat/template.h"

/* slip_chat_render. Roles: system, user, assistant (with reasoning_content and tool_calls, whose arguments are an
 * object or its JSON text) and tool. Content is a string, an array of {type: "text", text}, or for an assistant
 * null. `thinking` = false appends `<think></think>` to the cue. */
slip_chat_render slip_mimo_v2_chat, slip_mimo_v2_6_chat;

extern const slip_chat_template slip_mimo_v2_templates[];
extern const slip_chat_text slip_mimo_v2_chat_texts[];

/* ---- what the renderers share ---- */

slip_status slip_chat_refuse(size_t index, const char *field, const char *should);
bool slip_chat_role_is(const json_t *message, const char *role);

void slip_chat_open_turn(slip_text *text, const char *role);
void slip_chat_close_turn(slip_text *text);

/* The text of a message's content, "" for an assistant without one. */
slip_status slip_chat_put_content(slip_text *text, size_t index, const json_t *message);

/* A turn of a user, the system or a tool: its content. Another role is refused. */
slip_status slip_chat_put_plain(slip_text *text, size_t index, const json_t *message);

/* <think>reasoning</think> and the content; `reasoning` NULL: "". */
slip_status slip_chat_put_reasoned(slip_text *text, size_t index, const json_t *message, const json_t *reasoning);

/* What a template has of its own. */
typedef struct {
    /* What stands before the messages; *first is the first that is not in it (0 before the call). */
    slip_status (*begin)(slip_text *text, const json_t *messages, const json_t *tools, size_t *first);
    /* A message; an assistant's turn that is `open` does not end. */
    slip_status (*put_message)(slip_text *text, size_t index, size_t first, const json_t *messages, bool open);
    /* An assistant's reasoning, NULL or a string, and content. */
    slip_status (*put_answer)(slip_text *text, size_t index, const json_t *message, const json_t *reasoning);
    void (*put_value)(slip_text *text, const json_t *value); /* an argument of a call that is no string */
    const char *newline;                                     /* between the tags of a call, or "" */
} slip_chat_form;

slip_status slip_chat_put_assistant(slip_text *text, size_t index, const json_t *message, bool open, const slip_chat_form *form);
slip_status slip_chat_render_form(const slip_chat_form *form, const json_t *messages, const json_t *tools, bool thinking,
                                  slip_chat_ending ending, char **text, size_t *size);

#endif
