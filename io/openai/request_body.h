/* The `body` of a batch line. Private to io/request*.c. Both functions return SLIP_ERR_INPUT for a line that
 * is refused, request->refusal saying why, and SLIP_ERR_FAILED when memory ends.
 */
#ifndef SLIP_IO_OPENAI_REQUEST_BODY_H
#define SLIP_IO_OPENAI_REQUEST_BODY_H

#include <jansson.h>

#include "io/openai/request.h"

/* Fill *request from `body`, in the dialect that request->chat says. What is filled so far belongs to
 * *request in any case. */
slip_status slip_request_body(const json_t *body, const slip_request_defaults *defaults,
                              slip_request *request);

/* Fill request->sampling: every field of ranks/model/sampling.h by its name, and the seed. */
slip_status slip_request_sampling(const json_t *body, const slip_request_defaults *defaults, slip_request *request);

/* Refuse `param` because of its value, which the message shows: `expected` completes "must be ...". */
slip_status slip_request_wrong_value(slip_request *request, const char *param, const char *expected, const json_t *value);

/* Refuse what we know and do not serve. */
slip_status slip_request_unsupported(const json_t *body, slip_request *request);

#endif
