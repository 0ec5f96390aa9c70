#include "io/openai/request_body.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/base/json.h"
#include "io/openai/request_fields.h"
#include "io/openai/request_scan.h"

slip_status slip_request_wrong_value(slip_request *request, const char *param, const char *expected, const json_t *value)
{
    char *shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15)); /* 2.1 as it was written */
    slip_request_refuse(request, 400, "invalid_value", param, "%s must be %s, not %.80s", param, expected, shown != NULL ? shown : "this");
    free(shown);
    return SLIP_ERR_INPUT;
}

static slip_status copy_string(const char *string, const char *what, char **copy)
{
    *copy = strdup(string);
    return *copy != NULL ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "no memory for a %s of %zu bytes", what, strlen(string));
}

/* Is `model` this name, or a longer one that ends in it behind a slash, as Hugging Face's do? Case does not count. */
static bool goes_by(const char *model, const char *name, size_t size)
{
    const char *slash = strrchr(model, '/'), *last = slash != NULL ? slash + 1 : model;
    return (strlen(model) == size && strncasecmp(model, name, size) == 0) || (strlen(last) == size && strncasecmp(last, name, size) == 0);
}

static bool is_served(const char *model, const char *names)
{
    for (size_t size; names != NULL && *names != '\0'; names += size + (names[size] == ',')) {
        size = strcspn(names, ",");
        if (size > 0 && goes_by(model, names, size))
            return true;
    }
    return names == NULL;
}

static slip_status read_model(const json_t *body, const slip_request_defaults *defaults, slip_request *request)
{
    const json_t *member = slip_json_given(body, "model");
    if (member != NULL && !json_is_string(member))
        return slip_request_wrong_value(request, "model", "a string", member);
    const char *model = member != NULL ? json_string_value(member) : "slipstream";
    if (member != NULL && !is_served(model, defaults->models))
        return slip_request_refuse(request, 400, "unsupported", "model",
                                   "model \"%.80s\" is not the one at hand, which goes by %.160s; --served-model-name gives it another "
                                   "name",
                                   model, defaults->models);
    return copy_string(model, "model", &request->model);
}

slip_status slip_request_bool(const json_t *object, const char *name, slip_request *request, bool *value)
{
    const json_t *member = slip_json_given(object, name);
    if (member == NULL)
        return SLIP_OK;
    if (!json_is_boolean(member))
        return slip_request_wrong_value(request, name, "true or false", member);
    *value = json_is_true(member);
    return SLIP_OK;
}

/* max_tokens 0 with echo is how some ask for the logprobs of a text of their own. */
static slip_status refuse_no_tokens(const json_t *body, const char *name, slip_request *request)
{
    if (json_is_true(json_object_get(body, "echo")))
        return slip_request_refuse(request, 400, "unsupported", name,
                                   "%s 0 with echo would read the prompt and answer nothing: logprobs of a prompt are not served; "
                                   "slipstream score gives a text's",
                                   name);
    return slip_request_refuse(request, 400, "invalid_value", name, "%s must be an integer of at least 1, not 0", name);
}

/* max_tokens and its newer name; both may be there if they agree. */
static slip_status read_max_tokens(const json_t *body, const slip_request_defaults *defaults, slip_request *request)
{
    static const char *const names[] = {"max_tokens", "max_completion_tokens"};
    int32_t given = 0;
    for (int i = 0; i < 2; i++) {
        const json_t *member = slip_json_given(body, names[i]);
        if (member == NULL)
            continue;
        json_int_t number = json_integer_value(member);
        if (json_is_integer(member) && number == 0)
            return refuse_no_tokens(body, names[i], request);
        if (!json_is_integer(member) || number < 1 || number > INT32_MAX)
            return slip_request_wrong_value(request, names[i], "an integer of at least 1", member);
        if (given != 0 && given != number)
            return slip_request_wrong_value(request, names[i], "equal to max_tokens", member);
        given = (int32_t)number;
    }
    request->max_tokens = given != 0 ? given : defaults->max_tokens;
    return SLIP_OK;
}

/* n, and best_of, which as long as it is n asks for nothing more. */
static slip_status read_n(const json_t *body, slip_request *request)
{
    const json_t *n = slip_json_given(body, "n"), *best = slip_json_given(body, "best_of");
    double number = n != NULL ? json_number_value(n) : 1;
    if (!(number >= 1 && number <= SLIP_MAX_N && number == (int32_t)number))
        return slip_request_wrong_value(request, "n", "an integer from 1 to 128", n);
    request->n = (int32_t)number;
    if (best != NULL && !(json_is_number(best) && json_number_value(best) == number))
        return slip_request_refuse(request, 400, "unsupported", "best_of", "best_of: only the value of n is served");
    return SLIP_OK;
}

static slip_status add_stop(const json_t *stop, slip_request *request)
{
    if (!json_is_string(stop) || json_string_length(stop) == 0)
        return slip_request_wrong_value(request, "stop", "made of strings that are not empty", stop);
    slip_status status = copy_string(json_string_value(stop), "stop", &request->stops[request->stop_count]);
    if (status == SLIP_OK)
        request->stop_count++;
    return status;
}

static slip_status read_stops(const json_t *body, slip_request *request)
{
    const json_t *member = slip_json_given(body, "stop");
    if (member == NULL)
        return SLIP_OK;
    if (!json_is_array(member))
        return add_stop(member, request);
    if (json_array_size(member) > SLIP_MAX_STOPS)
        return slip_request_refuse(request, 400, "invalid_value", "stop", "stop holds %zu strings; at most %d are served",
                                   json_array_size(member), SLIP_MAX_STOPS);
    slip_status status = SLIP_OK;
    for (size_t i = 0; i < json_array_size(member) && status == SLIP_OK; i++)
        status = add_stop(json_array_get(member, i), request);
    return status;
}

/* One member into `fields`, or refused. What is passed over is not even parsed. */
static slip_status add_member(json_t *fields, const slip_member *member, const char *name, slip_request *request)
{
    json_error_t error;
    if (slip_request_field(name, request->chat) == SLIP_FIELD_HARMLESS)
        return SLIP_OK;
    if (json_object_get(fields, name) != NULL)
        return slip_request_refuse(request, 400, "invalid_json", name, "%.80s stands twice in body", name);
    json_t *value = slip_member_value(member, &error);
    if (value == NULL)
        return slip_request_refuse(request, 400, "invalid_json", name, "%.80s: not valid JSON: %s (byte %d of it)", name,
                                   slip_json_fault(&error), error.position);
    slip_status status = slip_request_check_field(request, name, value);
    if (json_object_set_new(fields, name, value) != 0 && status == SLIP_OK)
        status = slip_fail(SLIP_ERR_FAILED, "no memory for the field %.80s of a request", name);
    return status;
}

static slip_status read_members(json_t *fields, const char *body, size_t size, slip_request *request)
{
    slip_scan scan;
    slip_member member;
    slip_status status = SLIP_OK;
    slip_scan_start(&scan, body, size);
    while (status == SLIP_OK && slip_scan_next(&scan, &member)) {
        json_t *key = slip_member_key(&member);
        status = key != NULL ? add_member(fields, &member, json_string_value(key), request)
                             : slip_request_refuse(request, 400, "invalid_json", "body", "body has a name that is no text: %.*s",
                                                   (int)(member.key_size < 80 ? member.key_size : 80), member.key);
        json_decref(key);
    }
    if (status == SLIP_OK && (scan.broken || !slip_scan_at_end(&scan))) {
        json_error_t error = {.text = "something is wrong in it"};
        json_decref(json_loadb(body, size, 0, &error));
        status = slip_request_refuse(request, 400, "invalid_json", "body", "body: not valid JSON: %s (byte %d of it)",
                                     slip_json_fault(&error), error.position);
    }
    return status;
}

static slip_status read_fields(const json_t *body, const slip_request_defaults *defaults, slip_request *request)
{
    slip_status status;
    if ((status = read_model(body, defaults, request)) != SLIP_OK || (status = read_max_tokens(body, defaults, request)) != SLIP_OK ||
        (status = read_n(body, request)) != SLIP_OK || (status = slip_request_sampling(body, defaults, request)) != SLIP_OK ||
        (status = read_stops(body, request)) != SLIP_OK ||
        (status = slip_request_bool(body, "return_token_ids", request, &request->return_token_ids)) != SLIP_OK)
        return status;
    bool skips = true;
    if ((status = slip_request_bool(body, "skip_special_tokens", request, &skips)) != SLIP_OK)
        return status;
    request->special_tokens = !skips;
    return request->chat ? slip_request_chat(body, defaults, request) : slip_request_prompts(body, request);
}

slip_status slip_request_body(const char *body, size_t size, const slip_request_defaults *defaults, slip_request *request)
{
    json_t *fields = json_object();
    if (fields == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for the body of a request");
    slip_status status = read_members(fields, body, size, request);
    if (status == SLIP_OK)
        status = read_fields(fields, defaults, request);
    json_decref(fields);
    return status;
}
