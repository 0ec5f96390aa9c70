/* The few things that jansson leaves to us. Where it has no memory the process ends at once with exit status 1, since jansson cannot say so. */
#ifndef SLIP_IO_BASE_JSON_H
#define SLIP_IO_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "io/base/status.h"

/* A JSON string of any text: bytes that are not UTF-8 (a path, a message cut in the middle of a character)
 * become '?'. NULL when memory fails. */
json_t *slip_json_text(const char *text);

/* A number; null where there is none: NAN, or infinite, which JSON lacks. */
json_t *slip_json_number(double value);

/* The object as one compact line that ends in '\n' (malloc'ed, *size bytes, not terminated); NULL when memory
 * fails. */
char *slip_json_line(const json_t *object, size_t *size);

/* What is wrong with a text, in words that name no flag of jansson's. */
const char *slip_json_fault(const json_error_t *error);

/* The member `name`; NULL when it is absent or null, which mean the same to OpenAI's clients. */
json_t *slip_json_given(const json_t *object, const char *name);

/* For a text that could not be parsed: SLIP_ERR_INPUT, "SOURCE: WHERE line ...". */
slip_status slip_json_refuse(const char *source, const char *where, const json_error_t *error);

#endif
