#include "io/openai/result_line.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/base/hash.h"
#include "io/base/json.h"

enum { HEX = 17 };

/* The id of a result: the same request in the same run has the same one. */
static void result_id(const slip_request *request, uint64_t run_hash, const char *prefix, char id[static 32])
{
    uint64_t hash = slip_hash_text(SLIP_HASH_START, request->custom_id);
    hash = slip_hash(hash, &request->hash, sizeof request->hash);
    hash = slip_hash(hash, &run_hash, sizeof run_hash);
    snprintf(id, 32, "%s-%016" PRIx64, prefix, hash);
}

/* jansson has no NaN and no infinity; null says "unknown" without spoiling the line. */
static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* The acceptance record, in vLLM's words: the mean counts the bonus token of each step. */
static json_t *acceptance(const slip_answer *answer)
{
    double mean =
        answer->spec_steps > 0 ? 1 + (double)answer->accepted_draft_tokens / (double)answer->spec_steps : NAN;
    return json_pack("{s:o, s:I, s:I, s:I}", "mean_acceptance_length", real_or_null(mean), "num_spec_steps",
                     (json_int_t)answer->spec_steps, "num_draft_tokens", (json_int_t)answer->draft_tokens,
                     "num_accepted_draft_tokens", (json_int_t)answer->accepted_draft_tokens);
}

/* body.slipstream; `answer` is NULL for a refused request. */
static json_t *provenance(const slip_request *request, uint64_t run_hash, const slip_answer *answer)
{
    char request_hex[HEX], run_hex[HEX];
    snprintf(request_hex, sizeof request_hex, "%016" PRIx64, request->hash);
    snprintf(run_hex, sizeof run_hex, "%016" PRIx64, run_hash);
    if (answer == NULL)
        return json_pack("{s:s, s:s}", "request_hash", request_hex, "run_hash", run_hex);
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "request_hash", request_hex, "run_hash", run_hex,
                     "acceptance", acceptance(answer), "time_to_first_token_ms",
                     real_or_null(answer->time_to_first_token_ms), "total_ms",
                     real_or_null(answer->total_ms));
}

/* The assistant's message: `<think>reasoning</think>content`; cut short there, all is reasoning. */
static json_t *message(const slip_answer *answer)
{
    static const char open[] = "<think>", close[] = "</think>";
    const size_t opens = sizeof open - 1, closes = sizeof close - 1;
    const char *text = answer->text;
    size_t size = answer->text_size;
    if (size < opens || memcmp(text, open, opens) != 0)
        return json_pack("{s:s, s:s%}", "role", "assistant", "content", text, size);
    const char *reasoning = text + opens, *end = text + size;
    const char *mark = memmem(reasoning, (size_t)(end - reasoning), close, closes);
    const char *content = mark != NULL ? mark + closes : end;
    return json_pack("{s:s, s:s%, s:s%}", "role", "assistant", "reasoning_content", reasoning,
                     (size_t)((mark != NULL ? mark : end) - reasoning), "content", content,
                     (size_t)(end - content));
}

static json_t *choice(const slip_request *request, const slip_answer *answer)
{
    if (request->chat)
        return json_pack("{s:i, s:o, s:s, s:n}", "index", 0, "message", message(answer), "finish_reason",
                         answer->finish_reason, "logprobs");
    return json_pack("{s:i, s:s%, s:s, s:n}", "index", 0, "text", answer->text, answer->text_size,
                     "finish_reason", answer->finish_reason, "logprobs");
}

static json_t *usage(const slip_answer *answer)
{
    json_int_t prompt = answer->prompt_tokens, completion = answer->completion_tokens;
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", prompt, "completion_tokens", completion,
                     "total_tokens", prompt + completion);
}

static json_t *answer_body(const slip_request *request, uint64_t run_hash, const slip_answer *answer)
{
    char id[32];
    result_id(request, run_hash, request->chat ? "chatcmpl" : "cmpl", id);
    return json_pack("{s:s, s:s, s:I, s:s, s:[o], s:o, s:o}", "id", id, "object",
                     request->chat ? "chat.completion" : "text_completion", "created", (json_int_t)time(NULL),
                     "model", request->model, "choices", choice(request, answer), "usage", usage(answer),
                     "slipstream", provenance(request, run_hash, answer));
}

static json_t *refusal_body(const slip_request *request, uint64_t run_hash)
{
    const slip_refusal *refusal = &request->refusal;
    return json_pack("{s:{s:o, s:s, s:o, s:s}, s:o}", "error", "message", slip_json_text(refusal->message),
                     "type", refusal->type, "param",
                     refusal->param[0] != '\0' ? slip_json_text(refusal->param) : json_null(), "code",
                     refusal->code, "slipstream", provenance(request, run_hash, NULL));
}

/* Wrap `response` and `error` (both stolen, either may be NULL after a failure) into the line. */
static slip_status wrap(const slip_request *request, uint64_t run_hash, json_t *response, json_t *error,
                        char **line, size_t *size)
{
    char id[32];
    result_id(request, run_hash, "slip", id);
    json_t *root = json_pack("{s:s, s:s, s:o, s:o}", "id", id, "custom_id", request->custom_id, "response",
                             response, "error", error);
    char *text = root != NULL ? slip_json_line(root, size) : NULL;
    json_decref(root);
    if (text == NULL)
        return slip_fail(SLIP_ERR_FAILED,
                         "the result of request \"%.200s\" cannot be written: no memory, or not UTF-8",
                         request->custom_id);
    *line = text;
    return SLIP_OK;
}

static json_t *response(const slip_request *request, uint64_t run_hash, int status_code, json_t *body)
{
    char id[32];
    result_id(request, run_hash, "req", id);
    return json_pack("{s:i, s:s, s:o}", "status_code", status_code, "request_id", id, "body", body);
}

slip_status slip_result_line_answer(const slip_request *request, uint64_t run_hash, const slip_answer *answer,
                                    char **line, size_t *size)
{
    return wrap(request, run_hash, response(request, run_hash, 200, answer_body(request, run_hash, answer)),
                json_null(), line, size);
}

slip_status slip_result_line_refuse(const slip_request *request, uint64_t run_hash, char **line, size_t *size)
{
    json_t *body = refusal_body(request, run_hash);
    return wrap(request, run_hash, response(request, run_hash, request->refusal.status_code, body),
                json_null(), line, size);
}

slip_status slip_result_line_never_ran(const slip_request *request, uint64_t run_hash, const char *code,
                                       const char *message_text, char **line, size_t *size)
{
    json_t *error = json_pack("{s:s, s:o}", "code", code, "message", slip_json_text(message_text));
    return wrap(request, run_hash, json_null(), error, line, size);
}

static bool parse_hash(const json_t *object, const char *name, uint64_t *hash)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text == NULL || strlen(text) != HEX - 1 || strspn(text, "0123456789abcdef") != HEX - 1)
        return false;
    *hash = strtoull(text, NULL, 16);
    return true;
}

static bool parse_record(slip_result_record *record)
{
    const char *id = json_string_value(json_object_get(record->json, "id"));
    const json_t *answered = json_object_get(record->json, "response");
    record->custom_id = json_string_value(json_object_get(record->json, "custom_id"));
    if (id == NULL || strncmp(id, "slip-", 5) != 0 || record->custom_id == NULL || answered == NULL)
        return false;
    record->never_ran = json_is_null(answered);
    if (record->never_ran)
        return json_is_object(json_object_get(record->json, "error"));
    const json_t *origin = json_object_get(json_object_get(answered, "body"), "slipstream");
    return parse_hash(origin, "request_hash", &record->request_hash) &&
           parse_hash(origin, "run_hash", &record->run_hash);
}

bool slip_result_line_parse(const char *line, size_t size, slip_result_record *record)
{
    /* An answer may hold U+0000: a model can say anything. */
    slip_result_record read = {.json = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL)};
    if (!parse_record(&read)) {
        json_decref(read.json);
        return false;
    }
    *record = read;
    return true;
}
