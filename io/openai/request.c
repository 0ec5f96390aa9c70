#include "io/openai/request.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/hash/hash.h"
#include "io/base/json.h"
#include "io/openai/request_body.h"
#include "io/openai/request_fields.h"
#include "io/openai/request_scan.h"

static const slip_request_defaults openai_defaults = {.sampling = {.temperature = 1, .top_p = 1}};

void slip_request_free(slip_request *request)
{
    for (int32_t i = 0; request->prompts != NULL && i < request->prompt_count; i++) {
        free(request->prompts[i].text);
        free(request->prompts[i].ids);
    }
    for (int32_t i = 0; i < request->stop_count; i++)
        free(request->stops[i]);
    json_decref((json_t *)request->reading.tools);
    free(request->prompts);
    free(request->biases);
    free(request->custom_id);
    free(request->model);
    *request = (slip_request){0};
}

int32_t slip_request_choices(const slip_request *request)
{
    return request->prompt_count * request->n;
}

const slip_prompt *slip_request_prompt(const slip_request *request, int32_t choice)
{
    return &request->prompts[choice / request->n];
}

uint64_t slip_request_seed(const slip_request *request, int32_t choice)
{
    const uint64_t place[] = {request->seed_given ? 0 : (uint64_t)(choice / request->n), (uint64_t)(choice % request->n)};
    if (place[0] == 0 && place[1] == 0)
        return request->sampling.seed;
    return slip_hash(slip_hash(SLIP_HASH_START, &request->sampling.seed, sizeof request->sampling.seed), place, sizeof place);
}

/* ---- the line around the body ---- */

enum { CUSTOM_ID, METHOD, URL, BODY, MEMBERS };

static const char *const names[MEMBERS] = {"custom_id", "method", "url", "body"};

/* The members of a line that are read; size 0 where there is none. */
typedef struct {
    slip_member found[MEMBERS];
    const char *twice; /* a name that came again */
    bool others;       /* there are other members */
    bool whole;        /* the line is one object and nothing else */
    slip_member torn;  /* where it is not: the member that does not end */
} outline;

static void add_to_outline(outline *line, const slip_member *member)
{
    for (int i = 0; i < MEMBERS; i++)
        if (slip_member_is(member, names[i])) {
            if (line->found[i].key != NULL)
                line->twice = names[i];
            else
                line->found[i] = *member;
            return;
        }
    line->others = true;
}

static outline read_outline(const char *text, size_t size)
{
    outline line = {0};
    slip_scan scan;
    slip_member member;
    slip_scan_start(&scan, text, size);
    while (slip_scan_next(&scan, &member))
        add_to_outline(&line, &member);
    line.whole = !scan.broken && slip_scan_at_end(&scan);
    line.torn = scan.broken_in;
    return line;
}

static bool is_given(const slip_member *member)
{
    return member->key != NULL && !(member->value_size == 4 && memcmp(member->value, "null", 4) == 0);
}

/* A string of the line as text; NULL when it is none, or cannot be: *why says. The caller drops *json. */
static const char *text_of(const slip_member *member, json_t **json, const char **why)
{
    json_error_t error;
    *json = slip_member_value(member, &error);
    const char *text = json_string_value(*json);
    *why = *json == NULL ? "is not valid JSON" : text == NULL ? "must be a string" : NULL;
    return text;
}

/* The largest of a body's two settings of that meaning. What is no number counts as absent: the line will be refused. */
static int64_t find_max_tokens(const slip_member *body)
{
    slip_scan scan;
    slip_member member;
    int64_t most = 0;
    slip_scan_start(&scan, body->value, body->value_size);
    while (slip_scan_next(&scan, &member)) {
        char digits[24] = "";
        if (member.value_size >= sizeof digits ||
            !(slip_member_is(&member, "max_tokens") || slip_member_is(&member, "max_completion_tokens")))
            continue;
        memcpy(digits, member.value, member.value_size);
        int64_t number = strtoll(digits, NULL, 10);
        most = number > most ? number : most;
    }
    return most;
}

/* Most names need no parser: ASCII without escapes. */
static bool is_plain(const slip_member *member)
{
    bool plain = member->value_size > 2 && member->value[0] == '"';
    for (size_t i = 1; plain && i < member->value_size - 1; i++) {
        unsigned char byte = (unsigned char)member->value[i];
        plain = byte >= 0x20 && byte < 0x7f && byte != '\\';
    }
    return plain;
}

static char *copy_name(const slip_member *id, bool *named)
{
    const char *why;
    json_t *json;
    if ((*named = is_plain(id)))
        return strndup(id->value + 1, id->value_size - 2);
    const char *text = text_of(id, &json, &why);
    *named = text != NULL && text[0] != '\0';
    char *name = *named ? strdup(text) : NULL;
    json_decref(json);
    return name;
}

slip_status slip_request_look(const char *line, size_t size, slip_request_glance *glance)
{
    outline found = read_outline(line, size);
    const slip_member *id = &found.found[CUSTOM_ID];
    *glance = (slip_request_glance){.max_tokens = found.found[BODY].key != NULL ? find_max_tokens(&found.found[BODY]) : 0};
    if (!is_given(id))
        return SLIP_OK;
    bool named;
    glance->custom_id = copy_name(id, &named);
    return named && glance->custom_id == NULL ? slip_fail(SLIP_ERR_FAILED, "no memory for a custom_id") : SLIP_OK;
}

/* custom_id first: whatever else is wrong, the refusal should carry the line's own name. */
static slip_status read_custom_id(const outline *line, slip_request *request)
{
    const slip_member *member = &line->found[CUSTOM_ID];
    const char *why;
    json_t *json;
    if (!is_given(member))
        return slip_request_refuse(request, 400, "missing_field", "custom_id", "custom_id is missing");
    const char *text = text_of(member, &json, &why);
    slip_status status = SLIP_OK;
    if (text == NULL || text[0] == '\0') {
        status = slip_request_refuse(request, 400, "invalid_value", "custom_id", "custom_id %s", text != NULL ? "must not be empty" : why);
    } else {
        free(request->custom_id);
        request->custom_id = strdup(text);
        request->named = true;
        if (request->custom_id == NULL)
            status = slip_fail(SLIP_ERR_FAILED, "no memory for a custom_id of %zu bytes", strlen(text));
    }
    json_decref(json);
    return status;
}

static slip_status check_method(const char *method, slip_request *request)
{
    return strcmp(method, "POST") == 0
               ? SLIP_OK
               : slip_request_refuse(request, 400, "invalid_value", "method", "method must be \"POST\", not \"%.40s\"", method);
}

static slip_status check_url(const char *url, slip_request *request)
{
    request->chat = strcmp(url, "/v1/chat/completions") == 0;
    return request->chat || strcmp(url, "/v1/completions") == 0
               ? SLIP_OK
               : slip_request_refuse(request, 404, "unknown_url", "url",
                                     "url must be /v1/chat/completions or /v1/completions, not \"%.80s\"", url);
}

/* A string member that must be there. */
static slip_status read_required(const outline *line, int which, slip_request *request,
                                 slip_status (*check)(const char *text, slip_request *request))
{
    const char *why, *name = names[which];
    json_t *json;
    if (!is_given(&line->found[which]))
        return slip_request_refuse(request, 400, "missing_field", name, "%s is missing", name);
    const char *text = text_of(&line->found[which], &json, &why);
    slip_status status = text != NULL ? check(text, request) : slip_request_refuse(request, 400, "invalid_value", name, "%s %s", name, why);
    json_decref(json);
    return status;
}

/* A line that is not one JSON object: the parser says where. */
static slip_status refuse_line(const char *text, size_t size, const outline *line, slip_request *request)
{
    json_error_t error = {.text = ""};
    json_t *json = json_loadb(text, size, JSON_DECODE_ANY, &error), *key = line->torn.key != NULL ? slip_member_key(&line->torn) : NULL;
    const char *param = json_string_value(key);
    if (json != NULL)
        slip_request_refuse(request, 400, "invalid_json", "", "a line must be a JSON object");
    else
        slip_request_refuse(request, 400, "invalid_json", param != NULL ? param : "", "not valid JSON: %s (byte %d)",
                            slip_json_fault(&error), error.position);
    json_decref(json);
    json_decref(key);
    return SLIP_ERR_INPUT;
}

static slip_status check_other(const char *name, slip_request *request)
{
    const char *meant = slip_request_misplaced(name);
    if (meant == NULL)
        return SLIP_OK;
    if (strcmp(meant, name) == 0)
        return slip_request_refuse(request, 400, "unsupported", name, "%s stands beside body; its place is inside", name);
    return slip_request_refuse(request, 400, "unsupported", name, "\"%.80s\" stands beside body; did you mean \"%s\", inside of it?", name,
                               meant);
}

/* Members that no batch line has: notes of the user's own pass, fields of the body do not. */
static slip_status check_others(const char *text, size_t size, slip_request *request)
{
    slip_status status = SLIP_OK;
    slip_scan scan;
    slip_member member;
    slip_scan_start(&scan, text, size);
    while (status == SLIP_OK && slip_scan_next(&scan, &member)) {
        bool known = !is_given(&member);
        for (int i = 0; i < MEMBERS && !known; i++)
            known = slip_member_is(&member, names[i]);
        json_t *key = known ? NULL : slip_member_key(&member);
        if (json_is_string(key))
            status = check_other(json_string_value(key), request);
        json_decref(key);
    }
    return status;
}

static slip_status read_line(const char *text, size_t size, const slip_request_defaults *defaults, slip_request *request)
{
    outline line = read_outline(text, size);
    slip_status status = line.whole || is_given(&line.found[CUSTOM_ID]) ? read_custom_id(&line, request) : SLIP_OK;
    if (!line.whole && status != SLIP_ERR_FAILED)
        return refuse_line(text, size, &line, request);
    if (status == SLIP_OK && line.twice != NULL)
        return slip_request_refuse(request, 400, "invalid_json", line.twice, "%s stands twice", line.twice);
    if (status == SLIP_OK && line.others)
        status = check_others(text, size, request);
    if (status != SLIP_OK || (status = read_required(&line, METHOD, request, check_method)) != SLIP_OK ||
        (status = read_required(&line, URL, request, check_url)) != SLIP_OK)
        return status;
    const slip_member *body = &line.found[BODY];
    if (!is_given(body))
        return slip_request_refuse(request, 400, "missing_field", "body", "body is missing");
    if (body->value[0] != '{')
        return slip_request_refuse(request, 400, "invalid_value", "body", "body must be an object");
    return slip_request_body(body->value, body->value_size, defaults, request);
}

static slip_status read_text(const char *text, size_t size, const slip_request_defaults *defaults, slip_request *request)
{
    if (size <= SLIP_REQUEST_LINE_MAX)
        return read_line(text, size, defaults, request);
    outline line = read_outline(text, size); /* what was kept of it */
    slip_status status = is_given(&line.found[CUSTOM_ID]) ? read_custom_id(&line, request) : SLIP_OK;
    return status == SLIP_ERR_FAILED
               ? status
               : slip_request_refuse(request, 400, "line_too_long", "", "the line is longer than %d bytes", SLIP_REQUEST_LINE_MAX);
}

/* ---- the hash ---- */

static uint64_t hash_prompt(uint64_t hash, const slip_prompt *prompt)
{
    uint64_t is_text = prompt->text != NULL;
    hash = slip_hash(hash, &is_text, sizeof is_text);
    return prompt->text != NULL ? slip_hash_field(hash, prompt->text, prompt->size)
                                : slip_hash_field(hash, prompt->ids, prompt->id_count * sizeof *prompt->ids);
}

/* Every field that decides the answer, in a fixed order. */
static uint64_t hash_accepted(const slip_request *request)
{
    uint64_t hash = slip_hash_text(SLIP_HASH_START, request->chat ? "chat" : "text");
    hash = slip_hash_text(hash, request->model);
    for (int32_t i = 0; i < request->prompt_count; i++)
        hash = hash_prompt(hash, &request->prompts[i]);
    const uint64_t numbers[] = {(uint64_t)request->prompt_count,
                                (uint64_t)request->n,
                                request->echo,
                                request->return_token_ids,
                                (uint64_t)request->max_tokens,
                                request->seed_given,
                                (uint64_t)request->stop_count,
                                request->logprobs,
                                (uint64_t)request->top_logprobs};
    hash = slip_hash(hash, numbers, sizeof numbers);
    hash = slip_hash(hash, &request->sampling, sizeof request->sampling);
    hash = slip_hash_field(hash, request->biases, (size_t)request->bias_count * sizeof *request->biases);
    for (int32_t i = 0; i < request->stop_count; i++)
        hash = slip_hash_text(hash, request->stops[i]);
    if (request->special_tokens)
        hash = slip_hash_text(hash, "special_tokens");
    if (request->reading.one_call)
        hash = slip_hash_text(hash, "one_call");
    return hash;
}

slip_status slip_request_parse(const char *line, size_t size, int64_t number, const slip_request_defaults *defaults, slip_request *request)
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
    parsed.hash = status == SLIP_OK ? hash_accepted(&parsed)
                                    : slip_hash_field(slip_hash_text(SLIP_HASH_START, parsed.refusal.code), line, size);
    *request = parsed;
    return SLIP_OK;
}
