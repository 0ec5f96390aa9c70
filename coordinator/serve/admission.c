#include "coordinator/serve/admission.h"

#include <stdlib.h>
#include <string.h>

static slip_status copy_ids(const slip_prompt *prompt, slip_ready_prompt *ready)
{
    size_t bytes = prompt->id_count * sizeof *ready->ids;
    ready->ids = malloc(bytes + 1);
    if (!ready->ids)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a prompt of %zu tokens", prompt->id_count);
    memcpy(ready->ids, prompt->ids, bytes);
    ready->count = prompt->id_count;
    return SLIP_OK;
}

static void check_prompt(slip_request *request, int32_t vocabulary, const slip_prompt *prompt, const slip_ready_prompt *ready)
{
    for (size_t i = 0; i < ready->count; i++)
        if (ready->ids[i] < 0 || ready->ids[i] >= vocabulary) {
            slip_request_refuse(request, 400, "invalid_value", "prompt", "token id %d is not below the vocabulary's %d", ready->ids[i],
                                vocabulary);
            return;
        }
    if (request->echo && !prompt->text)
        slip_request_refuse(request, 400, "unsupported", "echo", "a prompt of token ids is not echoed");
    else if (ready->count == 0)
        slip_request_refuse(request, 400, "invalid_value", "prompt", "the prompt is empty: there is nothing to continue");
}

static void check_biases(slip_request *request, int32_t vocabulary)
{
    if (request->bias_count > 0 && request->biases[request->bias_count - 1].token >= vocabulary)
        slip_request_refuse(request, 400, "invalid_value", "logit_bias", "token id %d is not below the vocabulary's %d",
                            request->biases[request->bias_count - 1].token, vocabulary);
}

/* K/V for prompt + max_tokens is reserved when a request gets a slot: what cannot fit is refused now. */
static void check_length(slip_request *request, slip_ready_prompt *ready, int64_t context)
{
    int64_t prompt = (int64_t)ready->count, room = context - prompt;
    ready->max_tokens = request->max_tokens == 0 && room > 0 ? (int32_t)room : request->max_tokens;
    if (room <= 0 || ready->max_tokens > room)
        slip_request_refuse(request, 400, "context_length_exceeded", room <= 0 ? "prompt" : "max_tokens",
                            "%lld prompt tokens and %d to generate do not fit the context of %lld", (long long)prompt, request->max_tokens,
                            (long long)context);
}

static slip_status prepare_prompt(const slip_tokenizer *tokenizer, int32_t vocabulary, int64_t context, slip_request *request,
                                  const slip_prompt *prompt, slip_ready_prompt *ready)
{
    slip_status status = prompt->text ? slip_tokenizer_encode(tokenizer, prompt->text, prompt->size, 1, &ready->ids, &ready->count)
                                      : copy_ids(prompt, ready);
    if (status != SLIP_OK)
        return status;
    check_prompt(request, vocabulary, prompt, ready);
    if (!request->refusal.status_code)
        check_length(request, ready, context);
    return SLIP_OK;
}

slip_status slip_admission_prepare(const slip_tokenizer *tokenizer, int32_t vocabulary, int64_t context, slip_request *request,
                                   slip_ready_prompt **prompts)
{
    slip_status status = SLIP_OK;
    *prompts = NULL;
    check_biases(request, vocabulary);
    if (request->refusal.status_code)
        return SLIP_OK;
    slip_ready_prompt *ready = calloc((size_t)request->prompt_count, sizeof *ready);
    if (!ready)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d prompts", request->prompt_count);
    for (int32_t i = 0; i < request->prompt_count && status == SLIP_OK && !request->refusal.status_code; i++)
        status = prepare_prompt(tokenizer, vocabulary, context, request, &request->prompts[i], &ready[i]);
    if (status != SLIP_OK || request->refusal.status_code)
        slip_admission_free(ready, request->prompt_count);
    else
        *prompts = ready;
    return status;
}

void slip_admission_free(slip_ready_prompt *prompts, int32_t count)
{
    for (int32_t i = 0; prompts && i < count; i++)
        free(prompts[i].ids);
    free(prompts);
}
