#include "io/base/text.h"

#include <stdlib.h>
#include <string.h>

void slip_text_add(slip_text *text, const char *bytes, size_t size)
{
    size_t needed, wanted;
    if (text->failed || size == 0)
        return;
    if (__builtin_add_overflow(text->size, size, &needed) || __builtin_mul_overflow(needed, 2, &wanted)) {
        text->failed = true;
        return;
    }
    if (needed > text->room) {
        char *grown = realloc(text->bytes, wanted);
        if (grown == NULL) {
            text->failed = true;
            return;
        }
        text->bytes = grown;
        text->room = wanted;
    }
    memcpy(text->bytes + text->size, bytes, size);
    text->size = needed;
}

void slip_text_puts(slip_text *text, const char *words)
{
    slip_text_add(text, words, strlen(words));
}

slip_status slip_text_take(slip_text *text, char **bytes, size_t *size)
{
    slip_text_add(text, "", 1);
    if (text->failed) {
        slip_status status = slip_fail(SLIP_ERR_FAILED, "out of memory for a text of %zu bytes", text->size);
        slip_text_free(text);
        return status;
    }
    *bytes = text->bytes;
    *size = text->size - 1;
    *text = (slip_text){0};
    return SLIP_OK;
}

void slip_text_free(slip_text *text)
{
    free(text->bytes);
    *text = (slip_text){0};
}
