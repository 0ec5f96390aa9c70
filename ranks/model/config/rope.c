#include "ranks/model/config/rope.h"

#include <stdio.h>
#include <string.h>

const slip_rope_place *slip_rope_number(const slip_rope_place *places, int count, double low, double high, double *value)
{
    const slip_rope_place *first = NULL;
    for (int i = 0; i < count; i++) {
        const slip_rope_place *place = &places[i];
        if (!slip_field_given(&place->fields, place->name))
            continue;
        double number = slip_field_number(&place->fields, place->name, low, high);
        if (first == NULL) {
            first = place;
            *value = number;
        } else {
            slip_field_refuse_other(&place->fields, place->name, &first->fields, first->name);
        }
    }
    return first;
}

double slip_rope_base(const slip_rope_place *places, int count, double fallback)
{
    double base = fallback;
    if (slip_rope_number(places, count, 1.0, 1e12, &base) == NULL && fallback == 0)
        return slip_field_number(&places[0].fields, places[0].name, 1.0, 1e12);
    return base;
}

static bool is_part(const char *name)
{
    return strcmp(name, "full_attention") == 0 || strcmp(name, "sliding_attention") == 0;
}

static bool is_plain(const char *name, const json_t *value)
{
    if (json_is_null(value) || strcmp(name, "rope_theta") == 0 || strcmp(name, "partial_rotary_factor") == 0)
        return true;
    if (strcmp(name, "rope_type") == 0 || strcmp(name, "type") == 0)
        return json_is_string(value) && strcmp(json_string_value(value), "default") == 0;
    return strcmp(name, "factor") == 0 && json_number_value(value) == 1;
}

void slip_rope_check(const slip_fields *rope, bool parts)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)rope->object, name, value) {
        char path[128];
        if (parts && is_part(name)) {
            snprintf(path, sizeof path, "%s%s.", rope->path, name);
            slip_fields part = slip_field_object(rope, name, path);
            slip_rope_check(&part, false);
        } else if (!is_plain(name, value)) {
            slip_field_refuse(rope, name, "RoPE scaling is not supported");
        }
    }
}
