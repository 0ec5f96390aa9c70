/* From a request as its user wrote it to tokens that the decoder can run, or a refusal. */
#ifndef SLIP_COORDINATOR_SERVE_ADMISSION_H
#define SLIP_COORDINATOR_SERVE_ADMISSION_H

#include "io/openai/request.h"
#include "io/text/tokenizer.h"

/* A prompt of a request, ready to run. */
typedef struct {
    int32_t *ids; /* [count], owned */
    size_t count;
    int32_t max_tokens; /* the request's, or as many as the context leaves */
} slip_ready_prompt;

/* Encode the request's prompts into *prompts [prompt_count], which the caller frees, for a context of so many positions. A request that
 * cannot run is refused as a whole, and *prompts is NULL. Not SLIP_OK: memory ended, or the tokenizer failed. */
slip_status slip_admission_prepare(const slip_tokenizer *tokenizer, int32_t vocabulary, int64_t context, slip_request *request,
                                   slip_ready_prompt **prompts);
void slip_admission_free(slip_ready_prompt *prompts, int32_t count);

#endif
