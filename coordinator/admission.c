#include "coordinator/admission.h"

#include <stdlib.h>
#include <string.h>

static slip_status copy_ids(const slip_request *request, int32_t **ids, size_t *count)
{
    size_t bytes = request->prompt_ids_count * sizeof **ids;
    int32_t *copy = malloc(bytes + 1);
    if (!copy)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a prompt of %zu tokens", request->prompt_ids_count);
    memcpy(copy, request->prompt_ids, bytes);
    *ids = copy;
    *count = request->prompt_ids_count;
    return SLIP_OK;
}

static void check_prompt(slip_request *request, int32_t vocabulary, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary) {
            slip_request_refuse(request, 400, "invalid_value", "prompt", "token id %d is not below the vocabulary's %d", ids[i], vocabulary);
            return;
        }
    if (request->echo && !request->prompt)
        slip_request_refuse(request, 400, "unsupported", "echo", "a prompt of token ids is not echoed");
    else if (count == 0)
        slip_request_refuse(request, 400, "invalid_value", "prompt", "the prompt is empty: there is nothing to continue");
}

/* K/V for prompt + max_tokens is reserved when a request gets a slot: what cannot fit is refused now. */
static void check_length(slip_request *request, int64_t prompt, int64_t context)
{
    int64_t room = context - prompt;
    if (request->max_tokens == 0 && room > 0)
        request->max_tokens = (int32_t)room;
    if (room <= 0 || request->max_tokens > room)
        slip_request_refuse(request, 400, "context_length_exceeded", room <= 0 ? "prompt" : "max_tokens",
                            "%lld prompt tokens and %d to generate do not fit the context of %lld", (long long)prompt, request->max_tokens,
                            (long long)context);
}

slip_status slip_admission_prepare(const slip_tokenizer *tokenizer, int32_t vocabulary, int64_t context, slip_request *request,
                                   int32_t **ids, size_t *count)
{
    slip_status status = SLIP_OK;
    *ids = NULL;
    *count = 0;
    if (request->refusal.status_code)
        return SLIP_OK;
    if (request->prompt)
        status = slip_tokenizer_encode(tokenizer, request->prompt, request->prompt_size, request->chat, ids, count);
    else
        status = copy_ids(request, ids, count);
    if (status != SLIP_OK)
        return status;
    check_prompt(request, vocabulary, *ids, *count);
    if (!request->refusal.status_code)
        check_length(request, (int64_t)*count, context);
    if (request->refusal.status_code) {
        free(*ids);
        *ids = NULL;
    }
    return SLIP_OK;
}
