/* The chat templates of MiMo-V2-Flash and MiMo-V2.5, which differ in whether they think by default: ChatML with no newline after <|im_end|>, a default system turn,
 * <think></think> around reasoning in every assistant turn, tools in the system turn. Rendering makes text;
 * special tokens in it are then encoded as such.
 *
 *     <|im_start|>system\n...<|im_end|><|im_start|>user\n...<|im_end|><|im_start|>assistant\n
 */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_CHAT_H
#define SLIP_RANKS_MODEL_MIMO_V2_CHAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "io/base/status.h"
#include "ranks/model/chat/template.h"

/* Render an OpenAI `messages` array (and optional `tools`, may be NULL) to the prompt text that `ending`
 * says. Roles: system, user, assistant (with reasoning_content and tool_calls, whose arguments are an
 * object or its JSON text) and tool. Content is a string, an array of {type: "text", text}, or for an assistant
 * null. `thinking` = false appends `<think></think>` to the cue. *text is malloc'ed, NUL-terminated; the caller frees it.
 * SLIP_ERR_INPUT names the message and the field that is wrong. */
slip_status slip_mimo_v2_chat(const json_t *messages, const json_t *tools, bool thinking, slip_chat_ending ending, char **text,
                              size_t *size);

extern const slip_chat_template slip_mimo_v2_templates[];
extern const slip_chat_text slip_mimo_v2_chat_texts[];

#endif
