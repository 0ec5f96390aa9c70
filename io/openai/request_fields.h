/* The names a request's body may have, of OpenAI's API and of other servers', and what is done with each: served, passed
 * over because it never changes an answer, or refused unless its value asks for nothing. A name that is not here is
 * refused, too: it may be a misspelt one. Private to io/openai.
 */
#ifndef SLIP_IO_OPENAI_REQUEST_FIELDS_H
#define SLIP_IO_OPENAI_REQUEST_FIELDS_H

#include <jansson.h>

#include "io/openai/request.h"

typedef enum {
    SLIP_FIELD_UNKNOWN,
    SLIP_FIELD_SERVED,   /* read by the other files of this folder */
    SLIP_FIELD_HARMLESS, /* any value, even one that is not valid */
    SLIP_FIELD_INERT,    /* only a value that asks for nothing */
} slip_field;

/* What a body of this kind does with the name. */
slip_field slip_request_field(const char *name, bool chat);

/* The field of a body, of any kind, that a name beside the body may have been meant for, as spelt or nearly so; NULL: of none that could change
 * an answer, so that it is a note of the user's own. */
const char *slip_request_misplaced(const char *name);

/* Refuse an inert or unknown field: SLIP_OK for a value that asks for nothing, and for every other kind of field. */
slip_status slip_request_check_field(slip_request *request, const char *name, const json_t *value);

#endif
