/* The sampling fields of a request, a row each. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "io/base/hash/hash.h"
#include "io/base/json.h"
#include "io/base/range.h"
#include "io/openai/request_body.h"

typedef struct {
    const char *name;
    enum { INT, REAL } kind;
    size_t offset;
    double low, high;
} sampling_field;

#define FIELD(field, option, kind, argument, low, high, alone, many, help) {#field, kind, offsetof(slip_sampling, field), low, high},

static const sampling_field fields[] = {SLIP_SAMPLING_FIELDS(FIELD)};

static slip_status read_field(const json_t *body, const sampling_field *field, slip_request *request)
{
    const json_t *member = slip_json_given(body, field->name);
    char *place = (char *)&request->sampling + field->offset;
    if (member == NULL)
        return SLIP_OK;
    char range[SLIP_RANGE_WORDS];
    double number = json_number_value(member);
    bool right_kind = field->kind == INT ? json_is_integer(member) : json_is_number(member);
    if (!right_kind || !(number >= field->low && number <= field->high))
        return slip_request_wrong_value(request, field->name, slip_range_words(field->kind == INT, field->low, field->high, range), member);
    if (field->kind == INT)
        *(int64_t *)place = json_integer_value(member);
    else
        *(double *)place = number + 0.0; /* -0 would hash unlike 0 */
    return SLIP_OK;
}

static slip_status read_seed(const json_t *body, uint64_t mixed, slip_request *request)
{
    const json_t *member = slip_json_given(body, "seed");
    if (member != NULL && !json_is_integer(member))
        return slip_request_wrong_value(request, "seed", "an integer", member);
    request->seed_given = member != NULL;
    request->sampling.seed = member != NULL ? (uint64_t)json_integer_value(member)
                                            : slip_hash_text(slip_hash(SLIP_HASH_START, &mixed, sizeof mixed), request->custom_id);
    return SLIP_OK;
}

/* A token id as JSON's names spell one. */
static bool read_token(const char *name, int32_t *token)
{
    char *end;
    errno = 0;
    long value = strtol(name, &end, 10);
    *token = (int32_t)value;
    return name[0] >= '0' && name[0] <= '9' && *end == '\0' && errno == 0 && value <= INT32_MAX;
}

static int by_token(const void *a, const void *b)
{
    int32_t x = ((const slip_bias *)a)->token, y = ((const slip_bias *)b)->token;
    return (x > y) - (x < y);
}

static slip_status add_bias(const char *name, const json_t *value, slip_request *request)
{
    slip_bias *bias = &request->biases[request->bias_count];
    double number = json_number_value(value);
    if (!read_token(name, &bias->token))
        return slip_request_refuse(request, 400, "invalid_value", "logit_bias", "logit_bias: \"%.40s\" is not a token id", name);
    if (!json_is_number(value) || !(number >= -100 && number <= 100))
        return slip_request_wrong_value(request, "logit_bias", "numbers from -100 to 100", value);
    bias->value = (float)number + 0.0f;
    request->bias_count++;
    return SLIP_OK;
}

static slip_status read_biases(const json_t *body, slip_request *request)
{
    json_t *object = json_object_get(body, "logit_bias"), *value;
    const char *name;
    if (slip_json_given(body, "logit_bias") == NULL)
        return SLIP_OK;
    if (!json_is_object(object) || json_object_size(object) > SLIP_MAX_BIASES)
        return slip_request_refuse(request, 400, "invalid_value", "logit_bias", "logit_bias must be an object of at most %d token ids",
                                   SLIP_MAX_BIASES);
    request->biases = malloc((json_object_size(object) + 1) * sizeof *request->biases);
    if (request->biases == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for %zu biases", json_object_size(object));
    json_object_foreach (object, name, value) {
        slip_status status = add_bias(name, value, request);
        if (status != SLIP_OK)
            return status;
    }
    qsort(request->biases, (size_t)request->bias_count, sizeof *request->biases, by_token);
    for (int32_t i = 1; i < request->bias_count; i++)
        if (request->biases[i].token == request->biases[i - 1].token)
            return slip_request_refuse(request, 400, "invalid_value", "logit_bias", "logit_bias names token %d twice",
                                       request->biases[i].token);
    return SLIP_OK;
}

static slip_status read_count(const json_t *body, const char *name, slip_request *request)
{
    const json_t *member = slip_json_given(body, name);
    json_int_t number = json_integer_value(member);
    if (member == NULL)
        return SLIP_OK;
    if (!json_is_integer(member) || number < 0 || number > SLIP_MAX_TOP_LOGPROBS)
        return slip_request_wrong_value(request, name, "an integer from 0 to 20", member);
    request->top_logprobs = (int32_t)number;
    return SLIP_OK;
}

/* A chat says logprobs true and how many alternatives it wants beside; a completion says that number in logprobs. */
static slip_status read_logprobs(const json_t *body, slip_request *request)
{
    if (request->chat) {
        slip_status status = slip_request_bool(body, "logprobs", request, &request->logprobs);
        if (status == SLIP_OK)
            status = read_count(body, "top_logprobs", request);
        if (status == SLIP_OK && request->top_logprobs > 0 && !request->logprobs)
            status = slip_request_refuse(request, 400, "invalid_value", "top_logprobs", "top_logprobs needs logprobs true");
        return status;
    }
    const json_t *member = slip_json_given(body, "logprobs");
    if (member == NULL || json_is_false(member))
        return SLIP_OK;
    if (json_is_true(json_object_get(body, "echo")))
        return slip_request_refuse(
            request, 400, "unsupported", "logprobs",
            "logprobs with echo would be those of the prompt, too, which are not served; slipstream score gives a text's");
    request->logprobs = true;
    return read_count(body, "logprobs", request);
}

slip_status slip_request_sampling(const json_t *body, const slip_request_defaults *defaults, slip_request *request)
{
    slip_status status = SLIP_OK;
    request->sampling = defaults->sampling;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && status == SLIP_OK; i++)
        status = read_field(body, &fields[i], request);
    if (status == SLIP_OK)
        status = read_biases(body, request);
    if (status == SLIP_OK)
        status = read_logprobs(body, request);
    return status == SLIP_OK ? read_seed(body, defaults->sampling.seed, request) : status;
}
