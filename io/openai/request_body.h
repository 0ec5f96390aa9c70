/* The `body` of a batch line. Private to io/openai. Functions return SLIP_ERR_INPUT for a line that is refused,
 * request->refusal saying why, and SLIP_ERR_FAILED when memory ends. What is filled so far belongs to *request in any case.
 */
#ifndef SLIP_IO_OPENAI_REQUEST_BODY_H
#define SLIP_IO_OPENAI_REQUEST_BODY_H

#include <jansson.h>

#include "io/openai/request.h"

/* Fill *request from the text of `body`, in the dialect that request->chat says. */
slip_status slip_request_body(const char *body, size_t size, const slip_request_defaults *defaults, slip_request *request);

/* Fill request->sampling: every field of ranks/model/sampling/sampling.h by its name, and the seed; logit_bias and logprobs. */
slip_status slip_request_sampling(const json_t *body, const slip_request_defaults *defaults, slip_request *request);

/* The prompts of a completion, and the one of a chat. */
slip_status slip_request_prompts(const json_t *body, slip_request *request);
slip_status slip_request_chat(const json_t *body, const slip_request_defaults *defaults, slip_request *request);

/* Refuse `param` because of its value, which the message shows: `expected` completes "must be ...". */
slip_status slip_request_wrong_value(slip_request *request, const char *param, const char *expected, const json_t *value);

/* true or false at *value, which stays where the member is absent. */
slip_status slip_request_bool(const json_t *object, const char *name, slip_request *request, bool *value);

#endif
