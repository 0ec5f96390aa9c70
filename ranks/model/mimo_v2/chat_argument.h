/* The arguments of a call that a model made. Its markup has no types: a tool's JSON schema says what a value is. */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_CHAT_ARGUMENT_H
#define SLIP_RANKS_MODEL_MIMO_V2_CHAT_ARGUMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Set `key` in `arguments`, whose members are JSON texts. `function` is the tool's {name, parameters, ...}. A value is the JSON that its text
 * spells, True, False and None being Python's words for true, false and null, where the schema of the argument (type, a word or a list;
 * anyOf, oneOf) allows a value of that kind; else, and without a type, it is a string, byte for byte. False: memory ended, or not UTF-8. */
bool slip_chat_argument_set(json_t *arguments, const json_t *function, const char *key, size_t key_size, const char *value, size_t size);

/* The text of the JSON object that `arguments` spells, as a new JSON string; NULL when memory ends. */
json_t *slip_chat_argument_text(json_t *arguments);

#endif
