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

/* A turn of one of the roles that are no assistant's nor tool's: its content. */
slip_status slip_chat_put_plain(slip_text *text, size_t index, const json_t *message, const char *role);

/* The function of a call and its arguments, a new reference to an object; SLIP_ERR_INPUT where it lacks a name or they are none. */
slip_status slip_chat_take_call(size_t index, size_t call_index, const json_t *call, const char **name, json_t **arguments);

/* A turn that is to be continued has content and ends in it. */
slip_status slip_chat_check_open(size_t index, const json_t *message);

#endif
