/* JSON values as a chat template of Hugging Face prints them: it runs in Python, so that true is True and null
 * is None, while arrays and objects come out as Python's json.dumps(ensure_ascii=False) writes them.
 */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_CHAT_VALUE_H
#define SLIP_RANKS_MODEL_MIMO_V2_CHAT_VALUE_H

#include <jansson.h>

#include "io/base/text.h"

/* Append a value: a string as it is, a number or a constant as Python's str(), an array or an object as JSON. */
void slip_chat_put_value(slip_text *text, const json_t *value);

/* The same, but a constant as JSON has it. */
void slip_chat_put_json(slip_text *text, const json_t *value);

/* Append a string in quotes, escaped as JSON asks for and no further. */
void slip_chat_put_string(slip_text *text, const char *bytes, size_t size);

#endif
