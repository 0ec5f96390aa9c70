#include "io/openai/result/line.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/base/hash/hash.h"
#include "io/base/json.h"
#include "io/openai/result/logprobs.h"

/* The id of a result: the same request in the same run has the same one. */
static void make_id(const char *custom_id, uint64_t request_hash, uint64_t run_hash, const char *prefix, char id[static 32])
{
    uint64_t hash = slip_hash_text(SLIP_HASH_START, custom_id);
    hash = slip_hash(hash, &request_hash, sizeof request_hash);
    hash = slip_hash(hash, &run_hash, sizeof run_hash);
    snprintf(id, 32, "%s-%016" PRIx64, prefix, hash);
}

static void result_id(const slip_request *request, uint64_t run_hash, const char *prefix, char id[static 32])
{
    make_id(request->custom_id, request->hash, run_hash, prefix, id);
}

/* All choices of an answer as if they were one. */
static slip_answer sum_of(const slip_request *request, const slip_answer *answers)
{
    slip_answer sum = answers[0];
    for (int32_t i = 1; i < slip_request_choices(request); i++) {
        const slip_answer *one = &answers[i];
        sum.prompt_tokens += i % request->n == 0 ? one->prompt_tokens : 0; /* a prompt is read once */
        sum.completion_tokens += one->completion_tokens;
        sum.reasoning_tokens += one->reasoning_tokens;
        sum.spec_steps += one->spec_steps;
        sum.accepted_draft_tokens += one->accepted_draft_tokens;
        sum.draft_tokens += one->draft_tokens;
        sum.time_to_first_token_ms = fmin(sum.time_to_first_token_ms, one->time_to_first_token_ms);
        sum.total_ms = fmax(sum.total_ms, one->total_ms);
    }
    return sum;
}

/* The acceptance record, in vLLM's words: the mean counts the bonus token of each step. */
static json_t *acceptance(const slip_answer *sum)
{
    double mean = sum->spec_steps > 0 ? 1 + (double)sum->accepted_draft_tokens / (double)sum->spec_steps : NAN;
    return json_pack("{s:o, s:I, s:I, s:I}", "mean_acceptance_length", slip_json_number(mean), "num_spec_steps",
                     (json_int_t)sum->spec_steps, "num_draft_tokens", (json_int_t)sum->draft_tokens, "num_accepted_draft_tokens",
                     (json_int_t)sum->accepted_draft_tokens);
}

/* body.slipstream; `sum` is NULL for a refused request. */
static json_t *provenance(const slip_request *request, uint64_t run_hash, const slip_answer *sum)
{
    char request_hex[SLIP_RESULT_HEX], line_hex[SLIP_RESULT_HEX], run_hex[SLIP_RESULT_HEX];
    snprintf(request_hex, sizeof request_hex, "%016" PRIx64, request->hash);
    snprintf(line_hex, sizeof line_hex, "%016" PRIx64, request->line_hash);
    snprintf(run_hex, sizeof run_hex, "%016" PRIx64, run_hash);
    if (sum == NULL)
        return json_pack("{s:s, s:s, s:s}", "request_hash", request_hex, "line_hash", line_hex, "run_hash", run_hex);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "request_hash", request_hex, "line_hash", line_hex, "run_hash", run_hex,
                     "acceptance", acceptance(sum), "time_to_first_token_ms", slip_json_number(sum->time_to_first_token_ms), "total_ms",
                     slip_json_number(sum->total_ms));
}

/* What the model calls, in OpenAI's shape; NULL when memory fails. The ids are made from hashes, as those of results are. */
static json_t *tool_calls(const slip_request *request, int32_t index, const json_t *calls)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        const uint64_t place[] = {(uint64_t)index, i};
        char id[32];
        snprintf(id, sizeof id, "call_%016" PRIx64,
                 slip_hash(slip_hash(SLIP_HASH_START, &request->hash, sizeof request->hash), place, sizeof place));
        json_t *made = json_pack("{s:s, s:s, s:{s:O, s:O}}", "id", id, "type", "function", "function", "name",
                                 json_object_get(call, "name"), "arguments", json_object_get(call, "arguments"));
        if (json_array_append_new(list, made) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* The assistant's message. Content is null where it has none but has calls or reasoning, and "" where it has nothing at all. */
static json_t *message(const slip_request *request, int32_t index, const slip_chat_answer *parts)
{
    const slip_text *content = &parts->content, *reasoning = &parts->reasoning;
    json_t *made = json_pack("{s:s, s:o}", "role", "assistant", "content",
                             content->size > 0                        ? json_stringn(content->bytes, content->size)
                             : parts->reasons || parts->calls != NULL ? json_null()
                                                                      : json_string(""));
    bool whole = made != NULL;
    if (whole && parts->reasons)
        whole =
            json_object_set_new(made, "reasoning_content", json_stringn(reasoning->size > 0 ? reasoning->bytes : "", reasoning->size)) == 0;
    if (whole && parts->calls != NULL)
        whole = json_object_set_new(made, "tool_calls", tool_calls(request, index, parts->calls)) == 0;
    if (whole)
        return made;
    json_decref(made);
    return NULL;
}

static json_t *chat_choice(const slip_request *request, int32_t index, const slip_answer *answer)
{
    slip_chat_answer parts;
    if (slip_request_read_answer(request, answer->text, answer->text_size, &parts) != SLIP_OK)
        return NULL;
    const char *reason = answer->finish_reason;
    if (parts.calls != NULL && strcmp(reason, "stop") == 0)
        reason = "tool_calls";
    json_t *made = json_pack("{s:i, s:o, s:s, s:o}", "index", index, "message", message(request, index, &parts), "finish_reason", reason,
                             "logprobs", slip_result_logprobs(request, answer));
    slip_chat_answer_free(&parts);
    return made;
}

static json_t *text_choice(const slip_request *request, int32_t index, const slip_answer *answer)
{
    return json_pack("{s:i, s:s%, s:s, s:o}", "index", index, "text", answer->text, answer->text_size, "finish_reason",
                     answer->finish_reason, "logprobs", slip_result_logprobs(request, answer));
}

json_t *slip_result_id_list(const int32_t *ids, int32_t count)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < count; i++)
        if (json_array_append_new(list, json_integer(ids[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* Where vLLM puts them: a chat has one prompt, whose ids stand in the body. */
static bool put_prompt_ids(json_t *object, const slip_answer *answer)
{
    return json_object_set_new(object, "prompt_token_ids", slip_result_id_list(answer->prompt_ids, answer->prompt_tokens)) == 0;
}

static json_t *choice(const slip_request *request, int32_t index, const slip_answer *answer)
{
    json_t *made = request->chat ? chat_choice(request, index, answer) : text_choice(request, index, answer);
    bool whole = !request->return_token_ids ||
                 (json_object_set_new(made, "token_ids", slip_result_id_list(answer->ids, answer->completion_tokens)) == 0 &&
                  (request->chat || put_prompt_ids(made, answer)));
    if (whole)
        return made;
    json_decref(made);
    return NULL;
}

/* NULL when memory fails or a text is not UTF-8. */
static json_t *choices(const slip_request *request, const slip_answer *answers)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < slip_request_choices(request); i++)
        if (json_array_append_new(list, choice(request, i, &answers[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *usage(const slip_request *request, const slip_answer *sum)
{
    json_int_t prompt = sum->prompt_tokens, completion = sum->completion_tokens;
    json_t *made =
        json_pack("{s:I, s:I, s:I}", "prompt_tokens", prompt, "completion_tokens", completion, "total_tokens", prompt + completion);
    if (made != NULL && request->chat)
        json_object_set_new(made, "completion_tokens_details", json_pack("{s:i}", "reasoning_tokens", sum->reasoning_tokens));
    return made;
}

/* system_fingerprint says what the run hash says: equal ones answer a request with a seed alike. */
static json_t *answer_body(const slip_request *request, uint64_t run_hash, const slip_answer *answers)
{
    char id[32], fingerprint[32];
    slip_answer sum = sum_of(request, answers);
    result_id(request, run_hash, request->chat ? "chatcmpl" : "cmpl", id);
    snprintf(fingerprint, sizeof fingerprint, "fp_%016" PRIx64, run_hash);
    json_t *body = json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:o, s:o}", "id", id, "object",
                             request->chat ? "chat.completion" : "text_completion", "created", (json_int_t)time(NULL), "model",
                             request->model, "system_fingerprint", fingerprint, "choices", choices(request, answers), "usage",
                             usage(request, &sum), "slipstream", provenance(request, run_hash, &sum));
    if (body != NULL && request->chat && request->return_token_ids && !put_prompt_ids(body, answers)) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static json_t *refusal_body(const slip_request *request, uint64_t run_hash)
{
    const slip_refusal *refusal = &request->refusal;
    return json_pack("{s:{s:o, s:s, s:o, s:s}, s:o}", "error", "message", slip_json_text(refusal->message), "type", refusal->type, "param",
                     refusal->param[0] != '\0' ? slip_json_text(refusal->param) : json_null(), "code", refusal->code, "slipstream",
                     provenance(request, run_hash, NULL));
}

/* Wrap `response` and `error` (both stolen, either may be NULL after a failure) into the line. */
static slip_status wrap(const char *custom_id, uint64_t request_hash, uint64_t run_hash, json_t *response, json_t *error, char **line,
                        size_t *size)
{
    char id[32];
    make_id(custom_id, request_hash, run_hash, "slip", id);
    json_t *root = json_pack("{s:s, s:s, s:o, s:o}", "id", id, "custom_id", custom_id, "response", response, "error", error);
    char *text = root != NULL ? slip_json_line(root, size) : NULL;
    json_decref(root);
    if (text == NULL)
        return slip_fail(SLIP_ERR_FAILED, "the result of request \"%.200s\" cannot be written: no memory, or not UTF-8", custom_id);
    *line = text;
    return SLIP_OK;
}

static slip_status respond(const slip_request *request, uint64_t run_hash, int status_code, json_t *body, char **line, size_t *size)
{
    char id[32];
    result_id(request, run_hash, "req", id);
    json_t *response = json_pack("{s:i, s:s, s:o}", "status_code", status_code, "request_id", id, "body", body);
    return wrap(request->custom_id, request->hash, run_hash, response, json_null(), line, size);
}

slip_status slip_result_line_answer(const slip_request *request, uint64_t run_hash, const slip_answer *answers, char **line, size_t *size)
{
    return respond(request, run_hash, 200, answer_body(request, run_hash, answers), line, size);
}

slip_status slip_result_line_refuse(const slip_request *request, uint64_t run_hash, char **line, size_t *size)
{
    return respond(request, run_hash, request->refusal.status_code, refusal_body(request, run_hash), line, size);
}

slip_status slip_result_line_never_ran(const char *custom_id, uint64_t run_hash, const char *code, const char *message_text, char **line,
                                       size_t *size)
{
    json_t *error = json_pack("{s:s, s:o}", "code", code, "message", slip_json_text(message_text));
    return wrap(custom_id, 0, run_hash, json_null(), error, line, size);
}

bool slip_result_parse_hash(const json_t *object, const char *name, uint64_t *hash)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text == NULL || strlen(text) != SLIP_RESULT_HEX - 1 || strspn(text, "0123456789abcdef") != SLIP_RESULT_HEX - 1)
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
    record->refused = json_object_get(json_object_get(answered, "body"), "error") != NULL;
    record->has_line_hash = slip_result_parse_hash(origin, "line_hash", &record->line_hash);
    return slip_result_parse_hash(origin, "request_hash", &record->request_hash) &&
           slip_result_parse_hash(origin, "run_hash", &record->run_hash);
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
