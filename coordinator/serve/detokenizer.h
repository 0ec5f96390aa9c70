/* Tokens to text, with stop strings. Only whole UTF-8 characters come out; what might become a stop string is held back. */
#ifndef SLIP_COORDINATOR_SERVE_DETOKENIZER_H
#define SLIP_COORDINATOR_SERVE_DETOKENIZER_H

#include <stdbool.h>

#include "io/text/tokenizer.h"
#include "io/base/utf8.h"

typedef struct {
    const slip_tokenizer *tokenizer; /* borrowed */
    char *const *stops;              /* borrowed, [stop_count], none empty */
    int32_t stop_count;
    slip_utf8_stream stream;
    char *bytes; /* what has been decoded; a found stop string and what follows are cut off */
    size_t size, room;
    size_t safe; /* bytes[0 .. safe) can be shown: no stop string can begin before `safe` */
    bool stopped;
    bool special; /* special tokens are text, too; set it after the start */
} slip_detokenizer;

void slip_detokenizer_start(slip_detokenizer *text, const slip_tokenizer *tokenizer, char *const *stops, int32_t stop_count);
void slip_detokenizer_free(slip_detokenizer *text);

/* Add one token (special tokens add nothing, unless `special` is set). After a stop string was found, `stopped` is set and nothing is added. */
slip_status slip_detokenizer_push(slip_detokenizer *text, int32_t token);

/* The end: held bytes become U+FFFD, everything is safe. */
slip_status slip_detokenizer_finish(slip_detokenizer *text);

/* How many of the tokens it takes until their text has `size` bytes. */
slip_status slip_detokenizer_count(const slip_tokenizer *tokenizer, bool special, const int32_t *tokens, int32_t count, size_t size,
                                   int32_t *needed);

#endif
