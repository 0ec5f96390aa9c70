#include "jobs/convert/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"
#include "io/text/tokenizer.h"
#include "jobs/convert/chat.h"
#include "jobs/convert/generation.h"
#include "jobs/convert/qkv.h"
#include "ranks/model/config/settings.h"
#include "ranks/model/family.h"

enum { CONFIG_MAX = 1 << 20, TOKENIZER_MAX = 128 << 20, MASK_MAX = 16 << 20 };

/* `name` may be "": the folder itself. */
static slip_status join(const char *folder, const char *name, char path[SLIP_CONVERT_PATH])
{
    if (snprintf(path, SLIP_CONVERT_PATH, "%s%s%s", folder, name[0] != '\0' ? slip_file_slash(folder) : "", name) >= SLIP_CONVERT_PATH)
        return slip_fail(SLIP_ERR_INPUT, "%.128s...: the path is too long", folder);
    return SLIP_OK;
}

/* A repository in the hub's cache: blobs/, refs/, and snapshots/ with a folder a revision. */
static slip_status check_cache(const char *folder)
{
    char config[SLIP_CONVERT_PATH], snapshots[SLIP_CONVERT_PATH];
    slip_status status = join(folder, "config.json", config);
    if (status == SLIP_OK)
        status = join(folder, "snapshots", snapshots);
    if (status == SLIP_OK && !slip_file_is_there(config) && slip_file_is_there(snapshots))
        return slip_fail(SLIP_ERR_INPUT, "%s: no config.json, but snapshots/: the model is in a folder of that", folder);
    return status;
}

static slip_status read_config(const slip_convert_options *options, slip_convert_folder *f)
{
    char path[SLIP_CONVERT_PATH];
    slip_status status = check_cache(options->source_folder);
    if (status == SLIP_OK)
        status = join(options->source_folder, "config.json", path);
    if (status == SLIP_OK)
        status = slip_file_read(path, CONFIG_MAX, &f->config, &f->config_size);
    if (status == SLIP_OK)
        status = slip_config_parse(f->config, f->config_size, path, &f->model);
    if (status == SLIP_OK && options->window > 0 && f->model.sliding.window == 0)
        return slip_fail(SLIP_ERR_INPUT, "--window %d: no layer of %s slides", options->window, path);
    if (status == SLIP_OK && options->window > 0)
        f->model.sliding.window = options->window;
    return status;
}

/* Checked as every later run will; what follows asks it for end tokens. */
static slip_status read_tokenizer(const slip_convert_options *options, slip_convert_folder *f, slip_tokenizer **tokenizer)
{
    char path[SLIP_CONVERT_PATH];
    slip_status status = join(options->source_folder, "tokenizer.json", path);
    if (status != SLIP_OK)
        return status;
    if (!slip_file_is_there(path)) {
        if (slip_convert_speaks(options))
            fprintf(stderr, "warning: %s: not there; the model can only score token ids\n", path);
        return SLIP_OK;
    }
    status = slip_file_read(path, TOKENIZER_MAX, &f->tokenizer, &f->tokenizer_size);
    if (status == SLIP_OK)
        status = slip_tokenizer_parse(f->tokenizer, f->tokenizer_size, path, f->model.vocabulary, tokenizer);
    return status;
}

static slip_status read_texts(const slip_convert_options *options, slip_convert_folder *f, slip_tokenizer **tokenizer)
{
    slip_status status = read_config(options, f);
    if (status == SLIP_OK)
        status = read_tokenizer(options, f, tokenizer);
    if (status == SLIP_OK)
        status = slip_convert_generation(options->source_folder, slip_convert_speaks(options), *tokenizer, &f->model);
    if (status == SLIP_OK)
        status = slip_convert_chat(options->source_folder, &f->model);
    if (status == SLIP_OK && f->model.eos_count == 0 && slip_convert_speaks(options))
        fprintf(stderr, "warning: %s: no end token is known: answers go on until their limit of tokens\n", options->source_folder);
    return status;
}

/* A drafter's embedding and head are the target's, so that only its tokens must be: published pairs are padded to different sizes.
 * `tokenizer` may be NULL. */
static slip_status check_draft_vocabulary(const char *path, bool speaks, const slip_tokenizer *tokenizer, const slip_model *model)
{
    size_t size;
    int32_t drafts = model->draft.vocabulary, id = model->vocabulary - 1;
    while (tokenizer != NULL && id >= drafts && slip_tokenizer_bytes(tokenizer, id, &size) == NULL)
        id--;
    if (tokenizer != NULL && id >= drafts)
        return slip_fail(SLIP_ERR_INPUT, "%s: vocab_size is %d: the target's tokenizer has tokens up to %d", path, drafts, id);
    bool padding = tokenizer != NULL && drafts < model->vocabulary;
    if (drafts != model->vocabulary && !padding && speaks)
        fprintf(stderr, "warning: %s: vocab_size is %d, and the target's %d: is it this target's drafter?\n", path, drafts,
                model->vocabulary);
    return SLIP_OK;
}

static slip_status read_draft(const slip_convert_options *options, const slip_tokenizer *tokenizer, slip_convert_folder *f)
{
    char path[SLIP_CONVERT_PATH];
    const char *given = options->draft_folder;
    slip_status status = given != NULL ? join(given, "", f->draft_path) : join(options->source_folder, "dflash", f->draft_path);
    if (status == SLIP_OK && given == NULL && !slip_file_is_there(f->draft_path))
        f->draft_path[0] = '\0';
    if (status != SLIP_OK || f->draft_path[0] == '\0')
        return status;
    status = join(f->draft_path, "config.json", path);
    if (status == SLIP_OK)
        status = slip_file_read(path, CONFIG_MAX, &f->draft_config, &f->draft_config_size);
    if (status == SLIP_OK)
        status = slip_config_parse_draft(f->draft_config, f->draft_config_size, path, &f->model);
    if (status == SLIP_OK)
        status = check_draft_vocabulary(path, slip_convert_speaks(options), tokenizer, &f->model);
    if (status == SLIP_OK)
        status = join(f->draft_path, "mask_embedding.pt", path);
    if (status == SLIP_OK && slip_file_is_there(path))
        status = slip_file_read(path, MASK_MAX, &f->mask, &f->mask_size);
    return status;
}

slip_status slip_convert_folder_open(const slip_convert_options *options, slip_convert_folder *folder)
{
    slip_convert_folder *f = folder;
    slip_tokenizer *tokenizer = NULL;
    slip_status status = read_texts(options, f, &tokenizer);
    if (status == SLIP_OK)
        status = read_draft(options, tokenizer, f);
    slip_tokenizer_free(tokenizer);
    if (status == SLIP_OK)
        status = slip_convert_source_open(options->source_folder, f->model.family->weights, &f->target);
    if (status == SLIP_OK)
        status = slip_convert_qkv_settle(&f->target, &f->model);
    if (status == SLIP_OK && f->model.has_draft)
        status = slip_convert_source_open(f->draft_path, f->model.family->draft_weights, &f->draft);
    if (status == SLIP_OK)
        status = slip_weight_list(&f->model, &f->weights, &f->weight_count);
    if (status == SLIP_OK && (f->settings = slip_settings_text(&f->model)) == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "no memory for the settings");
    return status;
}

void slip_convert_folder_close(slip_convert_folder *folder)
{
    slip_convert_source_close(&folder->target);
    slip_convert_source_close(&folder->draft);
    free(folder->weights);
    free(folder->config);
    free(folder->draft_config);
    free(folder->settings);
    free(folder->tokenizer);
    free(folder->mask);
}
