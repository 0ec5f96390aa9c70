/* The logprobs of an answer, in the shapes of OpenAI's API. A token whose bytes are no UTF-8 of their own (part of a character) is written
 * "bytes:\xe2\x96", as OpenAI does; a chat's `bytes` are exact in any case. */
#ifndef SLIP_IO_OPENAI_RESULT_LOGPROBS_H
#define SLIP_IO_OPENAI_RESULT_LOGPROBS_H

#include <jansson.h>

#include "io/openai/result/result.h"

/* null where the request has no logprobs; NULL when memory fails. */
json_t *slip_result_logprobs(const slip_request *request, const slip_answer *answer);

#endif
