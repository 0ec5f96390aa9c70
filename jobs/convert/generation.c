#include "jobs/convert/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"
#include "io/base/printable.h"
#include "ranks/model/config/known.h"
#include "ranks/model/config/settings.h"

enum { TEXT_MAX = 16 << 20, PATH_SIZE = 4096 };

/* *root stays NULL where the folder has no such file. */
static slip_status read_file(const char *folder, const char *name, char path[PATH_SIZE], json_t **root)
{
    char *text;
    size_t size;
    if (snprintf(path, PATH_SIZE, "%s%s%s", folder, slip_file_slash(folder), name) >= PATH_SIZE)
        return slip_fail(SLIP_ERR_INPUT, "%.128s...: the path is too long", folder);
    if (!slip_file_is_there(path))
        return SLIP_OK;
    slip_status status = slip_file_read(path, TEXT_MAX, &text, &size);
    if (status != SLIP_OK)
        return status;
    status = slip_config_json(text, size, path, root);
    free(text);
    return status;
}

/* ---- generation_config.json ---- */

/* Members whose value 1, "cover all" or "as ever" asks for nothing. */
static bool asks_for_more(const slip_fields *fields, const char *name)
{
    return slip_field_given(fields, name) && json_number_value(json_object_get(fields->object, name)) != 1;
}

static void refuse_unsupported(const slip_fields *fields)
{
    static const char *const neutral[] = {"encoder_repetition_penalty", "length_penalty", "typical_p", "num_beams", "num_beam_groups",
                                          "num_return_sequences",       "guidance_scale", NULL};
    static const char *const read[] = {"do_sample",
                                       "eos_token_id",
                                       "temperature",
                                       "top_k",
                                       "top_p",
                                       "min_p",
                                       "presence_penalty",
                                       "frequency_penalty",
                                       "_from_model_config",
                                       "max_length",
                                       "max_new_tokens",
                                       "repetition_penalty",
                                       "encoder_repetition_penalty",
                                       "length_penalty",
                                       "typical_p",
                                       "num_beams",
                                       "num_beam_groups",
                                       "num_return_sequences",
                                       "guidance_scale",
                                       NULL};
    for (const char *const *name = neutral; *name != NULL; name++)
        if (asks_for_more(fields, *name))
            slip_field_refuse(fields, *name, "it is not supported; without this member the folder converts, and samples without it");
    slip_field_refuse_unknown(fields, read);
}

/* Greedy, but where a temperature is given: MiMo's published file is said to have do_sample false beside temperature 1, and the engines that
 * its authors name look at the temperature alone. */
static void read_do_sample(const slip_fields *fields, bool speaks, slip_model *model)
{
    if (!slip_field_given(fields, "do_sample") || slip_field_bool_or(fields, "do_sample", true))
        return;
    if (!slip_field_given(fields, "temperature"))
        model->sampling = (slip_sampling_defaults){.given = 1u << SLIP_SAMPLING_INDEX_temperature};
    else if (speaks && model->sampling.values.temperature > 0)
        fprintf(stderr,
                "warning: %s: do_sample is false, and temperature is %g: who says nothing samples at that, as with vLLM and SGLang\n",
                fields->source, (double)model->sampling.values.temperature);
}

static slip_status read_generation(const char *folder, bool speaks, slip_model *model)
{
    char path[PATH_SIZE];
    json_t *root = NULL;
    slip_status status = read_file(folder, "generation_config.json", path, &root);
    if (root == NULL)
        return status;
    slip_fields fields = {root, path, "", &status};
    slip_settings_add_eos(&fields, "eos_token_id", model);
    slip_settings_read_sampling(&fields, &model->sampling);
    read_do_sample(&fields, speaks, model);
    refuse_unsupported(&fields);
    json_decref(root);
    return status;
}

/* ---- tokenizer_config.json ---- */

/* An added token as this file has it: transformers puts it in the place of tokenizer.json's, which is the one that is read here. */
static slip_status check_added(const char *path, const char *key, const json_t *entry, const slip_tokenizer *tokenizer, bool *known)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip"};
    const json_t *special = json_object_get(entry, "special");
    const char *content = json_string_value(json_object_get(entry, "content"));
    char *end;
    long long id = strtoll(key, &end, 10);
    if (content == NULL || end == key || *end != '\0' || id < 0 || id > INT32_MAX)
        return slip_fail(SLIP_ERR_INPUT, "%s: added_tokens_decoder: %.64s: it is not an id with a token's content", path, key);
    int32_t found = slip_tokenizer_find(tokenizer, content);
    size_t size;
    *known = found >= 0;
    if (found >= 0 ? found != id : slip_tokenizer_bytes(tokenizer, (int32_t)id, &size) != NULL)
        return slip_fail(SLIP_ERR_INPUT, "%s: added_tokens_decoder: %lld is %.64s, and in tokenizer.json %s", path, id, content,
                         found >= 0 ? "that token has another id" : "that id is not that added token's");
    if (found >= 0 && json_is_boolean(special) && json_is_true(special) != slip_tokenizer_is_special(tokenizer, found))
        return slip_fail(SLIP_ERR_INPUT, "%s: added_tokens_decoder: %lld, %.64s: special is %s, and the contrary in tokenizer.json", path,
                         id, content, json_is_true(special) ? "true" : "false");
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(json_object_get(entry, flags[i])))
            return slip_fail(SLIP_ERR_INPUT, "%s: added_tokens_decoder: %lld, %.64s: %s is true: it is not supported", path, id, content,
                             flags[i]);
    return SLIP_OK;
}

static slip_status check_all_added(const slip_fields *fields, bool speaks, const slip_tokenizer *tokenizer)
{
    slip_fields added = slip_field_object(fields, "added_tokens_decoder", "added_tokens_decoder.");
    const char *key, *first = NULL;
    json_t *entry;
    json_object_foreach ((json_t *)added.object, key, entry) {
        bool known = true;
        slip_status status = check_added(fields->source, key, entry, tokenizer, &known);
        if (status != SLIP_OK)
            return status;
        first = first == NULL && !known ? json_string_value(json_object_get(entry, "content")) : first;
    }
    if (first != NULL && speaks) {
        char shown[64];
        snprintf(shown, sizeof shown, "%s", first);
        slip_make_printable(shown);
        fprintf(stderr, "warning: %s: added_tokens_decoder: %s is not a token of tokenizer.json, and will be read as plain text\n",
                fields->source, shown);
    }
    return SLIP_OK;
}

/* The content of eos_token, which is a string or an object with it; NULL: it has none. */
static const char *eos_content(const slip_fields *fields)
{
    const json_t *token = json_object_get(fields->object, "eos_token");
    const char *content = json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
    slip_field_require(fields, "eos_token", content != NULL || !slip_field_given(fields, "eos_token"),
                       "it must be a string, or an object with its content");
    return content;
}

static slip_status find_eos(const slip_fields *fields, bool speaks, const slip_tokenizer *tokenizer, slip_model *model)
{
    const char *content = eos_content(fields);
    int32_t token = slip_tokenizer_find(tokenizer, content != NULL ? content : "<|im_end|>"), i = 0;
    if (*fields->status == SLIP_OK && content != NULL && token < 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: eos_token is %.64s: it is not a token of tokenizer.json", fields->source, content);
    while (i < model->eos_count && model->eos[i] != token)
        i++;
    if (content != NULL && i == model->eos_count && i > 0 && speaks)
        fprintf(stderr, "warning: %s: its eos_token, %d, is none of the end tokens that config.json and generation_config.json give\n",
                fields->source, token);
    if (token >= 0 && model->eos_count == 0)
        model->eos[model->eos_count++] = token;
    return SLIP_OK;
}

/* What would put tokens or spaces before a prompt; tokenizer.json, as far as it is supported, has neither. */
static void refuse_prefixes(const slip_fields *fields)
{
    static const char *const names[] = {"add_bos_token", "add_eos_token", "add_prefix_space"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        slip_field_require(fields, names[i], !slip_field_bool_or(fields, names[i], false), "it contradicts tokenizer.json");
}

static slip_status read_tokenizer_config(const char *folder, bool speaks, const slip_tokenizer *tokenizer, slip_model *model)
{
    char path[PATH_SIZE];
    json_t *root = NULL;
    slip_status status = read_file(folder, "tokenizer_config.json", path, &root), later = status;
    slip_fields fields = {root, path, "", &status};
    refuse_prefixes(&fields);
    if (status == SLIP_OK)
        later = check_all_added(&fields, speaks, tokenizer);
    if (status == SLIP_OK && later == SLIP_OK)
        later = find_eos(&fields, speaks, tokenizer, model);
    json_decref(root);
    return status != SLIP_OK ? status : later;
}

slip_status slip_convert_generation(const char *folder, bool speaks, const slip_tokenizer *tokenizer, slip_model *model)
{
    slip_status status = read_generation(folder, speaks, model);
    return status == SLIP_OK && tokenizer != NULL ? read_tokenizer_config(folder, speaks, tokenizer, model) : status;
}
