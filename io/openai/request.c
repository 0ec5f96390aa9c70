#include "io/openai/request.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/hash.h"
#include "io/base/json.h"
#include "io/openai/request_body.h"

static const slip_request_defaults openai_defaults = {.sampling = {.temperature = 1, .top_p = 1}};

void slip_request_free(slip_request *request)
{
    free(request->custom_id);
    free(request->prompt);
    free(request->prompt_ids);
    free(request->model);
    for (int32_t i = 0; i < request->stop_count; i++)
        free(request->stops[i]);
    *request = (slip_request){0};
}

/* custom_id first: whatever else is wrong, the refusal should carry the line's own name. */
static slip_status read_custom_id(const json_t *line, slip_request *request)
{
    const json_t *id = slip_json_given(line, "custom_id");
    if (id == NULL)
        return slip_request_refuse(request, 400, "missing_field", "custom_id", "custom_id is missing");
    if (!json_is_string(id) || json_string_length(id) == 0)
        return slip_request_refuse(request, 400, "invalid_value", "custom_id",
                                   "custom_id must be a string that is not empty");
    char *copy = strdup(json_string_value(id));
    if (copy == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for a custom_id of %zu bytes", json_string_length(id));
    free(request->custom_id);
    request->custom_id = copy;
    request->named = true;
    return SLIP_OK;
}

/* A string member of the line that must be there. */
static slip_status read_required(const json_t *line, const char *name, slip_request *request,
                                 const char **value)
{
    const json_t *member = slip_json_given(line, name);
    if (member == NULL)
        return slip_request_refuse(request, 400, "missing_field", name, "%s is missing", name);
    if (!json_is_string(member))
        return slip_request_refuse(request, 400, "invalid_value", name, "%s must be a string", name);
    *value = json_string_value(member);
    return SLIP_OK;
}

static slip_status read_method(const json_t *line, slip_request *request)
{
    const char *method = "";
    slip_status status = read_required(line, "method", request, &method);
    if (status == SLIP_OK && strcmp(method, "POST") != 0)
        return slip_request_refuse(request, 400, "invalid_value", "method",
                                   "method must be \"POST\", not \"%.40s\"", method);
    return status;
}

static slip_status read_url(const json_t *line, slip_request *request)
{
    const char *url = "";
    slip_status status = read_required(line, "url", request, &url);
    if (status != SLIP_OK)
        return status;
    request->chat = strcmp(url, "/v1/chat/completions") == 0;
    if (!request->chat && strcmp(url, "/v1/completions") != 0)
        return slip_request_refuse(request, 404, "unknown_url", "url",
                                   "url must be /v1/chat/completions or /v1/completions, not \"%.80s\"", url);
    return SLIP_OK;
}

static slip_status read_line(const json_t *line, const slip_request_defaults *defaults, slip_request *request)
{
    if (!json_is_object(line))
        return slip_request_refuse(request, 400, "invalid_json", "", "a line must be a JSON object");
    slip_status status;
    if ((status = read_custom_id(line, request)) != SLIP_OK ||
        (status = read_method(line, request)) != SLIP_OK || (status = read_url(line, request)) != SLIP_OK)
        return status;
    const json_t *body = slip_json_given(line, "body");
    if (body == NULL)
        return slip_request_refuse(request, 400, "missing_field", "body", "body is missing");
    if (!json_is_object(body))
        return slip_request_refuse(request, 400, "invalid_value", "body", "body must be an object");
    return slip_request_body(body, defaults, request);
}

static slip_status read_text(const char *text, size_t size, const slip_request_defaults *defaults,
                             slip_request *request)
{
    if (size > SLIP_REQUEST_LINE_MAX)
        return slip_request_refuse(request, 400, "line_too_long", "", "the line is longer than %d bytes",
                                   SLIP_REQUEST_LINE_MAX);
    json_error_t error;
    json_t *line = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (line == NULL)
        return slip_request_refuse(request, 400, "invalid_json", "", "not valid JSON: %s (byte %d)",
                                   error.text, error.position);
    slip_status status = read_line(line, defaults, request);
    json_decref(line);
    return status;
}

/* Every field that decides the answer, in a fixed order. */
static uint64_t hash_accepted(const slip_request *request)
{
    uint64_t hash = slip_hash_text(SLIP_HASH_START, request->chat ? "chat" : "text");
    hash = slip_hash_text(hash, request->model);
    if (request->prompt != NULL)
        hash = slip_hash_field(hash, request->prompt, request->prompt_size);
    else
        hash = slip_hash_field(hash, request->prompt_ids,
                               request->prompt_ids_count * sizeof *request->prompt_ids);
    const uint64_t numbers[] = {request->prompt != NULL, request->echo, (uint64_t)request->max_tokens,
                                (uint64_t)request->stop_count};
    hash = slip_hash(hash, numbers, sizeof numbers);
    hash = slip_hash(hash, &request->sampling, sizeof request->sampling);
    for (int32_t i = 0; i < request->stop_count; i++)
        hash = slip_hash_text(hash, request->stops[i]);
    return hash;
}

slip_status slip_request_parse(const char *line, size_t size, int64_t number,
                               const slip_request_defaults *defaults, slip_request *request)
{
    slip_request parsed = {0};
    if (asprintf(&parsed.custom_id, "line-%" PRId64, number) < 0) {
        parsed.custom_id = NULL;
        return slip_fail(SLIP_ERR_FAILED, "no memory for request line %" PRId64, number);
    }
    slip_status status = read_text(line, size, defaults != NULL ? defaults : &openai_defaults, &parsed);
    if (status == SLIP_ERR_FAILED) {
        slip_request_free(&parsed);
        return status;
    }
    /* A refused line has no fields to go by: it is the same request while its bytes are the same. */
    parsed.hash = status == SLIP_OK
                      ? hash_accepted(&parsed)
                      : slip_hash_field(slip_hash_text(SLIP_HASH_START, parsed.refusal.code), line, size);
    *request = parsed;
    return SLIP_OK;
}
