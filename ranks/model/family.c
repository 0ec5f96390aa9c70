#include "ranks/model/family.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "ranks/model/build.h"

#define FAMILY(name) extern const slip_family slip_##name;
#include "ranks/model/families.def"
#undef FAMILY

const slip_family *const slip_families[] = {
#define FAMILY(name) &slip_##name,
#include "ranks/model/families.def"
#undef FAMILY
    NULL,
};

/* ---- configs ---- */

static const slip_family *find(const char *model_type)
{
    for (const slip_family *const *family = slip_families; *family != NULL; family++)
        for (const char *const *type = (*family)->model_types; *type != NULL; type++)
            if (strcmp(*type, model_type) == 0)
                return *family;
    return NULL;
}

/* "only a, b and c are supported" */
static void refuse_type(const slip_fields *fields)
{
    const char *types[64], *gap = "";
    char problem[512] = "only ";
    size_t count = 0, used = strlen(problem);
    for (const slip_family *const *family = slip_families; *family != NULL; family++)
        for (const char *const *type = (*family)->model_types; *type != NULL && count < sizeof types / sizeof *types; type++)
            types[count++] = *type;
    for (size_t i = 0; i < count && used < sizeof problem; i++) {
        used += (size_t)snprintf(problem + used, sizeof problem - used, "%s%s", gap, types[i]);
        gap = i + 2 < count ? ", " : " and ";
    }
    if (used < sizeof problem)
        snprintf(problem + used, sizeof problem - used, "%s", count > 1 ? " are supported" : " is supported");
    slip_field_refuse(fields, "model_type", problem);
}

/* How much of an architecture's name is the type's, in another spelling: MiMoV2FlashForCausalLM begins with mimo_v2_flash. 0: it is not. */
static size_t common_size(const char *architecture, const char *type)
{
    size_t size = 0;
    for (; *type != '\0'; type++) {
        if (*type == '_')
            continue;
        if (tolower((unsigned char)architecture[size]) != *type)
            return 0;
        size++;
    }
    return size;
}

/* The type that an architecture's name begins with; the longest, for one may begin with another. */
static const char *type_of(const char *architecture)
{
    const char *best = NULL;
    size_t most = 0;
    for (const slip_family *const *family = slip_families; *family != NULL; family++)
        for (const char *const *type = (*family)->model_types; *type != NULL; type++) {
            size_t size = common_size(architecture, *type);
            if (size > most)
                best = *type;
            most = size > most ? size : most;
        }
    return best;
}

/* Other programs choose their code by it, and so it must mean what model_type means to us. */
static void check_architectures(const slip_fields *fields, const char *type)
{
    if (!slip_field_given(fields, "architectures"))
        return;
    const json_t *list = slip_field_list(fields, "architectures", 0, 16);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i)), *other = name != NULL ? type_of(name) : NULL;
        char problem[160];
        snprintf(problem, sizeof problem, "entry %zu, %.48s, contradicts model_type, which is %.48s", i, name != NULL ? name : "no string",
                 type);
        slip_field_require(fields, "architectures", other != NULL && strcmp(other, type) == 0, problem);
    }
}

static void parse_fields(const slip_fields *fields, slip_model *model)
{
    const char *type = slip_field_string(fields, "model_type");
    const slip_family *family = type != NULL ? find(type) : NULL;
    if (family == NULL) {
        refuse_type(fields);
        return;
    }
    check_architectures(fields, type);
    model->family = family;
    snprintf(model->name, sizeof model->name, "%s", type);
    family->parse(fields, model);
}

slip_status slip_config_parse(const char *json, size_t size, const char *source, slip_model *model)
{
    json_t *root;
    slip_status status = slip_config_json(json, size, source, &root);
    if (status != SLIP_OK)
        return status;
    slip_model parsed = {.routed_scale = 1.0f};
    slip_fields fields = {root, source, "", &status};
    parse_fields(&fields, &parsed);
    json_decref(root);
    if (status == SLIP_OK)
        *model = parsed;
    return status;
}

slip_status slip_config_parse_draft(const char *json, size_t size, const char *source, slip_model *model)
{
    if (model->family->parse_draft == NULL)
        return slip_fail(SLIP_ERR_INPUT, "%s: %s models have no drafter", source, model->name);
    return model->family->parse_draft(json, size, source, model);
}

/* ---- programs ---- */

slip_status slip_program_target(const slip_model *model, const slip_placement *placement, slip_program *program)
{
    return model->family->program_target(model, placement, program);
}

slip_status slip_program_draft(const slip_model *model, const slip_placement *placement, slip_program *program)
{
    return model->family->program_draft(model, placement, program);
}

/* ---- shapes ---- */

bool slip_shape_make(const char *name, slip_model *model)
{
    for (const slip_family *const *family = slip_families; *family != NULL; family++)
        for (const slip_shape *shape = (*family)->shapes; shape != NULL && shape->name != NULL; shape++)
            if (strcmp(shape->name, name) == 0) {
                *model = (slip_model){.family = *family};
                shape->make(model);
                return true;
            }
    return false;
}

const char *slip_shape_names(void)
{
    static char names[256];
    size_t used = 0;
    for (const slip_family *const *family = slip_families; *family != NULL; family++)
        for (const slip_shape *shape = (*family)->shapes; shape != NULL && shape->name != NULL && used < sizeof names; shape++)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? "|" : "", shape->name);
    return names;
}

void slip_shape_cut(slip_model *model, int32_t layers)
{
    model->layers = layers;
    for (int32_t i = 0; i < model->draft.taps; i++)
        if (model->draft.tap_layer[i] >= layers)
            model->draft.tap_layer[i] = layers - 1;
}
