#include "ranks/model/config/settings.h"

#include <stdlib.h>
#include <string.h>

#include "ranks/model/config/known.h"
#include "ranks/model/config/limits.h"

/* ---- reading ---- */

#define READ_INT(fields, name, low, high) slip_field_int(fields, name, (int32_t)(low), (int32_t)(high))
#define READ_REAL(fields, name, low, high) slip_field_number(fields, name, low, high)

void slip_settings_read_sampling(const slip_fields *fields, slip_sampling_defaults *sampling)
{
#define READ(field, option, kind, argument, low, high, alone, many, help) \
    if (slip_field_given(fields, #field)) { \
        sampling->values.field = READ_##kind(fields, #field, low, high); \
        sampling->given |= 1u << SLIP_SAMPLING_INDEX_##field; \
    }
    SLIP_SAMPLING_FIELDS(READ)
#undef READ
}

static void add_eos(const slip_fields *fields, const char *name, const json_t *value, slip_model *model)
{
    json_int_t token = json_integer_value(value);
    if (!json_is_integer(value) || token < 0 || token >= model->vocabulary) {
        slip_field_refuse(fields, name, "an entry is not a token of the vocabulary");
        return;
    }
    for (int32_t i = 0; i < model->eos_count; i++)
        if (model->eos[i] == token)
            return;
    if (model->eos_count == SLIP_MAX_EOS)
        slip_field_refuse(fields, name, "a model has at most 8 end tokens");
    else
        model->eos[model->eos_count++] = (int32_t)token;
}

void slip_settings_add_eos(const slip_fields *fields, const char *name, slip_model *model)
{
    if (!slip_field_given(fields, name))
        return;
    const json_t *value = json_object_get(fields->object, name);
    if (!json_is_array(value))
        add_eos(fields, name, value, model);
    for (size_t i = 0; i < json_array_size(value); i++)
        add_eos(fields, name, json_array_get(value, i), model);
}

bool slip_settings_chunks_fit(const slip_model *model, int64_t chunks)
{
    const slip_attention *kinds[] = {&model->global, &model->sliding};
    for (int32_t layer = 0; layer < model->layers; layer++) {
        const slip_attention *attention = kinds[model->is_sliding[layer]];
        if (chunks < 1 || attention->kv_heads % chunks != 0 || attention->heads % chunks != 0)
            return false;
    }
    return true;
}

static void read_chat_template(const slip_fields *fields, slip_model *model)
{
    if (!slip_field_given(fields, "chat_template"))
        return;
    const char *hash = json_string_value(json_object_get(fields->object, "chat_template"));
    if (hash == NULL || strlen(hash) != SLIP_SHA256_HEX - 1 || strspn(hash, "0123456789abcdef") != SLIP_SHA256_HEX - 1)
        slip_field_refuse(fields, "chat_template", "it is not a SHA-256, 64 lower-case hexadecimal digits");
    else
        memcpy(model->chat_template, hash, SLIP_SHA256_HEX);
}

static void apply(const slip_fields *fields, slip_model *model)
{
    static const char *const members[] = {"qkv_chunks", "window", "eos_token_id", "sampling", "chat_template", NULL};
    slip_fields sampling = slip_field_object(fields, "sampling", "sampling.");
    slip_field_refuse_unknown(fields, members);
    model->qkv_chunks = slip_field_int_or(fields, "qkv_chunks", 1, SLIP_MAX_HEADS, model->qkv_chunks);
    if (model->qkv_chunks > 0 && !slip_settings_chunks_fit(model, model->qkv_chunks))
        slip_field_refuse(fields, "qkv_chunks", "the heads of the layers do not divide into so many chunks");
    if (model->sliding.window > 0)
        model->sliding.window = slip_field_int_or(fields, "window", 1, SLIP_MAX_POSITIONS, model->sliding.window);
    if (slip_field_given(fields, "eos_token_id"))
        model->eos_count = 0;
    slip_settings_add_eos(fields, "eos_token_id", model);
    slip_settings_read_sampling(&sampling, &model->sampling);
    read_chat_template(fields, model);
}

slip_status slip_settings_apply(const char *json, size_t size, const char *source, slip_model *model)
{
    json_t *root;
    slip_status status = slip_config_json(json, size, source, &root);
    if (status != SLIP_OK)
        return status;
    slip_model changed = *model;
    slip_fields fields = {root, source, "", &status};
    apply(&fields, &changed);
    json_decref(root);
    if (status == SLIP_OK)
        *model = changed;
    return status;
}

/* ---- writing ---- */

static json_t *write_sampling(const slip_sampling_defaults *sampling)
{
    json_t *object = json_object();
#define WRITE_INT json_integer
#define WRITE_REAL json_real
#define WRITE(field, option, kind, argument, low, high, alone, many, help) \
    if (sampling->given & 1u << SLIP_SAMPLING_INDEX_##field) \
        json_object_set_new(object, #field, WRITE_##kind(sampling->values.field));
    SLIP_SAMPLING_FIELDS(WRITE)
#undef WRITE
    return object;
}

char *slip_settings_text(const slip_model *model)
{
    json_t *root = json_object(), *eos = json_array();
    if (model->qkv_chunks > 0)
        json_object_set_new(root, "qkv_chunks", json_integer(model->qkv_chunks));
    if (model->sliding.window > 0)
        json_object_set_new(root, "window", json_integer(model->sliding.window));
    for (int32_t i = 0; i < model->eos_count; i++)
        json_array_append_new(eos, json_integer(model->eos[i]));
    json_object_set_new(root, "eos_token_id", eos);
    json_object_set_new(root, "sampling", write_sampling(&model->sampling));
    if (model->chat_template[0] != '\0')
        json_object_set_new(root, "chat_template", json_string(model->chat_template));
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}
