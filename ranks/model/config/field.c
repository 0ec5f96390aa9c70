#include "ranks/model/config/field.h"
#include "io/base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

slip_status slip_config_json(const char *json, size_t size, const char *source, json_t **root)
{
    json_error_t error;
    json_t *parsed = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    if (parsed == NULL)
        return slip_json_refuse(source, "", &error);
    if (!json_is_object(parsed)) {
        json_decref(parsed);
        return slip_fail(SLIP_ERR_INPUT, "%s: not a JSON object", source);
    }
    *root = parsed;
    return SLIP_OK;
}

static const json_t *member(const slip_fields *fields, const char *name)
{
    const json_t *value = json_object_get(fields->object, name);
    return json_is_null(value) ? NULL : value;
}

bool slip_field_given(const slip_fields *fields, const char *name)
{
    return member(fields, name) != NULL;
}

/* The value in few words. */
static void describe(const json_t *value, char *text, size_t size)
{
    if (value == NULL) {
        snprintf(text, size, "missing");
    } else if (json_is_array(value)) {
        snprintf(text, size, "a list of %zu", json_array_size(value));
    } else if (json_is_object(value)) {
        snprintf(text, size, "an object");
    } else {
        char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
        snprintf(text, size, "%s", dump != NULL ? dump : "unprintable");
        free(dump);
    }
}

void slip_field_refuse(const slip_fields *fields, const char *name, const char *problem)
{
    char value[64];
    describe(member(fields, name), value, sizeof value);
    slip_status refused = slip_fail(SLIP_ERR_INPUT, "%s: %s%s is %s: %s", fields->source, fields->path, name, value, problem);
    if (*fields->status == SLIP_OK)
        *fields->status = refused;
}

void slip_field_require(const slip_fields *fields, const char *name, bool fine, const char *problem)
{
    if (!fine)
        slip_field_refuse(fields, name, problem);
}

void slip_field_require_string(const slip_fields *fields, const char *name, const char *wanted)
{
    const char *value = slip_field_string(fields, name);
    char problem[96];
    snprintf(problem, sizeof problem, "only %s is supported", wanted);
    slip_field_require(fields, name, value == NULL || strcmp(value, wanted) == 0, problem);
}

void slip_field_refuse_other(const slip_fields *fields, const char *name, const slip_fields *other, const char *other_name)
{
    const json_t *value = member(fields, name), *wanted = member(other, other_name);
    char text[64], problem[192];
    if (value == NULL || wanted == NULL || json_equal(value, wanted) ||
        (json_is_number(value) && json_is_number(wanted) && json_number_value(value) == json_number_value(wanted)))
        return;
    describe(wanted, text, sizeof text);
    snprintf(problem, sizeof problem, "it differs from %s%s, which is %s", other->path, other_name, text);
    slip_field_refuse(fields, name, problem);
}

int32_t slip_field_int(const slip_fields *fields, const char *name, int32_t low, int32_t high)
{
    const json_t *value = member(fields, name);
    json_int_t number = json_integer_value(value);
    if (json_is_integer(value) && number >= low && number <= high)
        return (int32_t)number;
    char problem[96];
    snprintf(problem, sizeof problem, "it must be an integer from %d to %d", low, high);
    slip_field_refuse(fields, name, problem);
    return low;
}

double slip_field_number(const slip_fields *fields, const char *name, double low, double high)
{
    const json_t *value = member(fields, name);
    double number = json_number_value(value);
    if (json_is_number(value) && number >= low && number <= high)
        return number;
    char problem[96];
    snprintf(problem, sizeof problem, "it must be a number from %g to %g", low, high);
    slip_field_refuse(fields, name, problem);
    return low;
}

int32_t slip_field_int_or(const slip_fields *fields, const char *name, int32_t low, int32_t high, int32_t fallback)
{
    return slip_field_given(fields, name) ? slip_field_int(fields, name, low, high) : fallback;
}

double slip_field_number_or(const slip_fields *fields, const char *name, double low, double high, double fallback)
{
    return slip_field_given(fields, name) ? slip_field_number(fields, name, low, high) : fallback;
}

bool slip_field_bool_or(const slip_fields *fields, const char *name, bool fallback)
{
    const json_t *value = member(fields, name);
    if (value == NULL)
        return fallback;
    if (!json_is_boolean(value))
        slip_field_refuse(fields, name, "it must be true or false");
    return json_is_true(value);
}

const char *slip_field_string(const slip_fields *fields, const char *name)
{
    const json_t *value = member(fields, name);
    if (value != NULL && !json_is_string(value))
        slip_field_refuse(fields, name, "it must be a string");
    return json_string_value(value);
}

slip_fields slip_field_object(const slip_fields *fields, const char *name, const char *path)
{
    const json_t *value = member(fields, name);
    if (value != NULL && !json_is_object(value))
        slip_field_refuse(fields, name, "it must be an object");
    return (slip_fields){value, fields->source, path, fields->status};
}

const json_t *slip_field_list(const slip_fields *fields, const char *name, size_t low, size_t high)
{
    const json_t *value = member(fields, name);
    if (json_is_array(value) && json_array_size(value) >= low && json_array_size(value) <= high)
        return value;
    char problem[96];
    snprintf(problem, sizeof problem, "it must be a list of %zu to %zu entries", low, high);
    if (low == high)
        snprintf(problem, sizeof problem, "it must be a list of %zu entries", low);
    slip_field_refuse(fields, name, problem);
    return NULL;
}

void slip_field_flags(const slip_fields *fields, const char *name, int32_t count, bool *flags)
{
    const json_t *list = slip_field_list(fields, name, (size_t)count, (size_t)count);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t flag = json_integer_value(value);
        if (!json_is_integer(value) || flag < 0 || flag > 1)
            slip_field_refuse(fields, name, "an entry is neither 0 nor 1");
        flags[i] = flag == 1;
    }
}

void slip_field_names(const slip_fields *fields, const char *name, const char *no, const char *yes, int32_t count, bool *flags)
{
    const json_t *list = slip_field_list(fields, name, (size_t)count, (size_t)count);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *kind = json_string_value(json_array_get(list, i));
        if (kind == NULL || (strcmp(kind, no) != 0 && strcmp(kind, yes) != 0)) {
            char problem[96];
            snprintf(problem, sizeof problem, "entry %zu is neither %s nor %s", i, no, yes);
            slip_field_refuse(fields, name, problem);
            return;
        }
        flags[i] = strcmp(kind, yes) == 0;
    }
}
