#include <stddef.h>

#include "io/base/hash.h"
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

slip_status slip_request_sampling(const json_t *body, const slip_request_defaults *defaults, slip_request *request)
{
    slip_status status = SLIP_OK;
    request->sampling = defaults->sampling;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && status == SLIP_OK; i++)
        status = read_field(body, &fields[i], request);
    return status == SLIP_OK ? read_seed(body, defaults->sampling.seed, request) : status;
}
