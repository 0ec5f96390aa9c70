/* Chat templates by name. A checkpoint brings its template as Jinja text, which is not run: the text is known by its SHA-256, and a
 * family renders the same strings in C. A text that is not known has no name until the user gives it one (--chat-template).
 */
#ifndef SLIP_RANKS_MODEL_CHAT_TEMPLATE_H
#define SLIP_RANKS_MODEL_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "io/base/status.h"

typedef struct json_t json_t; /* of jansson.h, which the GPU's code need not find */

enum { SLIP_SHA256_HEX = 65 }; /* the digits and a NUL */

/* What follows the last message. */
typedef enum {
    SLIP_CHAT_CUE,      /* the beginning of an answer */
    SLIP_CHAT_NO_CUE,   /* nothing: add_generation_prompt false */
    SLIP_CHAT_CONTINUE, /* the last message, the assistant's, stays open: continue_final_message */
} slip_chat_ending;

/* Render an OpenAI `messages` array and `tools` (NULL: none) to the text that the assistant goes on with. *text is malloc'ed and
 * NUL-terminated; the caller frees it. SLIP_ERR_INPUT names the message and the field that is wrong. */
typedef slip_status slip_chat_render(const json_t *messages, const json_t *tools, bool thinking, slip_chat_ending ending, char **text,
                                     size_t *size);

typedef struct {
    const char *name; /* what --chat-template takes; NULL ends a list */
    bool thinks;      /* where a request does not say */
    slip_chat_render *render;
} slip_chat_template;

/* A text whose template is known. */
typedef struct {
    const char *sha256; /* of chat_template.jinja's bytes, or of tokenizer_config.json's chat_template; NULL ends a list */
    const char *name;   /* of a slip_chat_template */
} slip_chat_text;

/* Both return NULL when there is none; `templates` and `texts` may be NULL. */
const slip_chat_template *slip_chat_template_find(const slip_chat_template *templates, const char *name);
const slip_chat_template *slip_chat_template_of(const slip_chat_template *templates, const slip_chat_text *texts, const char *sha256);

/* "a, b and c", for messages. */
void slip_chat_template_names(const slip_chat_template *templates, char *names, size_t size);

#endif
