#include "jobs/convert/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"
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

/* The content of eos_token, which is a string or an object with it; NULL: it has none. */
static const char *eos_content(const json_t *root)
{
    const json_t *token = json_object_get(root, "eos_token");
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

static slip_status find_eos(const char *folder, const slip_tokenizer *tokenizer, slip_model *model)
{
    char path[PATH_SIZE];
    json_t *root = NULL;
    slip_status status = read_file(folder, "tokenizer_config.json", path, &root);
    const char *content = eos_content(root);
    int32_t token = -1;
    if (status == SLIP_OK && content != NULL && (token = slip_tokenizer_find(tokenizer, content)) < 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: eos_token is %.64s: it is not a token of tokenizer.json", path, content);
    if (status == SLIP_OK && content == NULL)
        token = slip_tokenizer_find(tokenizer, "<|im_end|>");
    if (token >= 0)
        model->eos[model->eos_count++] = token;
    json_decref(root);
    return status;
}

slip_status slip_convert_generation(const char *folder, bool speaks, const slip_tokenizer *tokenizer, slip_model *model)
{
    slip_status status = read_generation(folder, speaks, model);
    if (status == SLIP_OK && model->eos_count == 0 && tokenizer != NULL)
        status = find_eos(folder, tokenizer, model);
    return status;
}
