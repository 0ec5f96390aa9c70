/* The tools that a model may call, as MiMo's system turn lists them: XML that follows their JSON schemas, or, from V2.6 on, the JSON. */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_CHAT_TOOLS_H
#define SLIP_RANKS_MODEL_MIMO_V2_CHAT_TOOLS_H

#include <jansson.h>

#include "io/base/status.h"
#include "io/base/text.h"

/* Append the list and the instructions behind it; nothing for an absent, null or empty `tools`, which else is
 * OpenAI's array of {type: "function", function: {name, description, parameters}}. SLIP_ERR_INPUT names the
 * field that is wrong. */
slip_status slip_chat_put_tools(slip_text *text, const json_t *tools);
slip_status slip_chat_put_tools_as_json(slip_text *text, const json_t *tools);

#endif
