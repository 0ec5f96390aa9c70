/* Text that grows. A failure of memory is remembered, so that a run of additions is checked once, at its end. */
#ifndef SLIP_IO_BASE_TEXT_H
#define SLIP_IO_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "io/base/status.h"

/* Zero it to start. */
typedef struct {
    char *bytes; /* [size], owned, not terminated */
    size_t size, room;
    bool failed;
} slip_text;

void slip_text_add(slip_text *text, const char *bytes, size_t size);
void slip_text_puts(slip_text *text, const char *words);

/* Hand over the bytes, NUL-terminated; the caller frees *bytes, and the text is empty again. SLIP_ERR_FAILED:
 * memory failed here or in an addition before. */
slip_status slip_text_take(slip_text *text, char **bytes, size_t *size);

void slip_text_free(slip_text *text);

#endif
