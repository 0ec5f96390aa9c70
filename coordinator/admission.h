/* From a request as its user wrote it to tokens that the decoder can run, or a refusal. */
#ifndef SLIP_COORDINATOR_ADMISSION_H
#define SLIP_COORDINATOR_ADMISSION_H

#include "io/openai/request.h"
#include "io/text/tokenizer.h"

/* Encode the prompt into *ids [*count] (the caller frees them) and settle max_tokens: as many as are left of `context` positions where the
 * request names none. A request that cannot run is refused, and *ids is NULL. Not SLIP_OK: memory ended, or the tokenizer failed. */
slip_status slip_admission_prepare(const slip_tokenizer *tokenizer, int32_t vocabulary, int64_t context, slip_request *request,
                                   int32_t **ids, size_t *count);

#endif
