/* Added tokens: contents that are found in the text before byte pairs see it, the special ones among them.
 *
 * As in `tokenizers`: those with normalized = false are looked for in the text as it came, the others in its
 * normalised parts; of the matches that begin first the longest counts, and the search goes on behind it.
 */
#ifndef SLIP_IO_TEXT_ADDED_H
#define SLIP_IO_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"

typedef struct {
    char *content; /* NUL-terminated; what is looked for, so already normalised where `normalized` is set */
    size_t size;
    int32_t id;
    bool special;
} slip_added_token;

typedef struct {
    slip_added_token *tokens; /* [count], by first byte and the longer first */
    size_t count, room;
    size_t first[257]; /* the tokens that begin with byte b are tokens[first[b] .. first[b + 1]) */
} slip_added;

/* Add a token; `content` is copied and not empty. SLIP_ERR_FAILED: out of memory. slip_added_free() takes all
 * back. */
slip_status slip_added_put(slip_added *added, const char *content, size_t size, int32_t id, bool special);
void slip_added_free(slip_added *added);

/* Make what was put ready for the search. Returns a content that was put twice, NULL when there is none. */
const char *slip_added_sort(slip_added *added);

/* The first token in text[from .. size), NULL when there is none; it begins at *start. Special tokens that are
 * found while `special` is false hide what they cover, and the search goes on behind them. */
const slip_added_token *slip_added_find(const slip_added *added, const char *text, size_t size, size_t from, bool special, size_t *start);

#endif
