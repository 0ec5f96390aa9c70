#include "jobs/convert/convert.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/layout.h"
#include "io/base/clock.h"
#include "ranks/model/family.h"
#include "io/base/file.h"
#include "io/checkpoint/torch_file.h"
#include "jobs/convert/source.h"
#include "jobs/convert/weight.h"

enum {
    CONFIG_MAX = 1 << 20,
    TOKENIZER_MAX = 128 << 20,
    MASK_MAX = 16 << 20,
    PATH_SIZE = 4096,
    REPORT_SECONDS = 5
};

typedef struct {
    const slip_convert_options *options;
    char draft_folder[PATH_SIZE]; /* "" without a drafter */
    char *config, *draft_config, *tokenizer;
    size_t config_size, draft_config_size, tokenizer_size;
    slip_model model;
    slip_convert_source target, draft;
    slip_checkpoint_writer *writer;
    slip_weight_spec *weights;
    size_t weight_count;
    int64_t bytes; /* written so far */
    double started, reported;
} job;

static slip_status join(const char *folder, const char *name, char path[PATH_SIZE])
{
    if (snprintf(path, PATH_SIZE, "%s/%s", folder, name) >= PATH_SIZE)
        return slip_fail(SLIP_ERR_INPUT, "%.128s...: the path is too long", folder);
    return SLIP_OK;
}

static bool exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* ---- reading ---- */

static slip_status read_config(job *j)
{
    char path[PATH_SIZE];
    slip_status status = join(j->options->source_folder, "config.json", path);
    if (status == SLIP_OK)
        status = slip_file_read(path, CONFIG_MAX, &j->config, &j->config_size);
    if (status == SLIP_OK)
        status = slip_config_parse(j->config, j->config_size, path, &j->model);
    return status;
}

static slip_status read_tokenizer(job *j)
{
    char path[PATH_SIZE];
    slip_status status = join(j->options->source_folder, "tokenizer.json", path);
    if (status != SLIP_OK || exists(path))
        return status == SLIP_OK ? slip_file_read(path, TOKENIZER_MAX, &j->tokenizer, &j->tokenizer_size)
                                 : status;
    fprintf(stderr, "warning: %s: not there; the model can only score token ids\n", path);
    return SLIP_OK;
}

static slip_status read_draft_config(job *j)
{
    char path[PATH_SIZE];
    const char *given = j->options->draft_folder;
    slip_status status = given != NULL ? join(given, "", j->draft_folder)
                                       : join(j->options->source_folder, "dflash", j->draft_folder);
    if (status != SLIP_OK)
        return status;
    if (given == NULL && !exists(j->draft_folder)) {
        j->draft_folder[0] = '\0';
        return SLIP_OK;
    }
    status = join(j->draft_folder, "config.json", path);
    if (status == SLIP_OK)
        status = slip_file_read(path, CONFIG_MAX, &j->draft_config, &j->draft_config_size);
    if (status == SLIP_OK)
        status = slip_config_parse_draft(j->draft_config, j->draft_config_size, path, &j->model);
    return status;
}

static slip_status open_sources(job *j)
{
    slip_status status = read_config(j);
    if (status == SLIP_OK)
        status = read_tokenizer(j);
    if (status == SLIP_OK)
        status = read_draft_config(j);
    if (status == SLIP_OK)
        status = slip_convert_source_open(j->options->source_folder, j->model.family->weights, &j->target);
    if (status == SLIP_OK && j->model.has_draft)
        status = slip_convert_source_open(j->draft_folder, j->model.family->draft_weights, &j->draft);
    if (status == SLIP_OK)
        status = slip_weight_list(&j->model, &j->weights, &j->weight_count);
    return status;
}

/* ---- writing ---- */

static slip_status convert_mask_file(job *j, const slip_weight_spec *weight, const char *path)
{
    char *archive;
    size_t size, offset;
    slip_dtype dtype;
    slip_status status = slip_file_read(path, MASK_MAX, &archive, &size);
    if (status != SLIP_OK)
        return status;
    status =
        slip_torch_file_find((const unsigned char *)archive, size, path, weight->columns, &dtype, &offset);
    if (status == SLIP_OK) {
        slip_dataset values, none;
        slip_layout_datasets(weight, dtype, &values, &none);
        status = slip_checkpoint_add(j->writer, &values, archive + offset);
        j->bytes += values.bytes;
    }
    free(archive);
    return status;
}

/* The published file, a tensor of that name, or the target's row of the mask token. */
static slip_status convert_mask(job *j, const slip_weight_spec *weight)
{
    char path[PATH_SIZE];
    slip_status status = join(j->draft_folder, "mask_embedding.pt", path);
    if (status != SLIP_OK)
        return status;
    if (exists(path))
        return convert_mask_file(j, weight, path);
    if (slip_convert_source_has(&j->draft, weight))
        return slip_convert_weight(j->writer, &j->draft, weight, false, &j->bytes);
    fprintf(stderr, "warning: %s: no mask embedding; the target's row of token %d takes its place\n",
            j->draft_folder, j->model.draft.mask_token);
    return SLIP_OK;
}

static void report(job *j, size_t done)
{
    if (slip_now_s() - j->reported < REPORT_SECONDS)
        return;
    j->reported = slip_now_s();
    fprintf(stderr, "convert: %zu of %zu weights, %.1f MB\n", done, j->weight_count, (double)j->bytes / 1e6);
}

static slip_status convert_weights(job *j)
{
    slip_status status = SLIP_OK;
    bool round = j->options->experts == SLIP_CONVERT_MXFP4;
    for (size_t i = 0; i < j->weight_count && status == SLIP_OK; i++) {
        const slip_weight_spec *weight = &j->weights[i];
        slip_convert_source *source = slip_weight_of_draft(weight->row) ? &j->draft : &j->target;
        status = weight->row->optional ? convert_mask(j, weight)
                                  : slip_convert_weight(j->writer, source, weight, round, &j->bytes);
        report(j, i + 1);
    }
    return status;
}

static slip_status check_leftovers(const job *j)
{
    size_t skipped = 0, none = 0;
    slip_status status = slip_convert_source_check(&j->target, &skipped);
    if (status == SLIP_OK && j->model.has_draft)
        status = slip_convert_source_check(&j->draft, &none);
    if (status == SLIP_OK && skipped > 0)
        fprintf(stderr, "convert: left out %zu tensors that are not of the decoder (MTP, vision, audio)\n",
                skipped);
    return status;
}

static slip_status convert(job *j)
{
    slip_status status = open_sources(j);
    if (status == SLIP_OK)
        status = slip_checkpoint_create(j->options->out_path, j->config, j->draft_config, j->tokenizer,
                                        j->tokenizer_size, &j->writer);
    if (status == SLIP_OK)
        status = convert_weights(j);
    if (status == SLIP_OK)
        status = check_leftovers(j);
    if (status == SLIP_OK)
        status = slip_checkpoint_commit(j->writer);
    if (status == SLIP_OK)
        fprintf(stderr, "converted %s: %d layers, %s, %s, %.1f MB in %.1f s -> %s\n",
                j->options->source_folder, j->model.layers,
                j->model.has_draft ? "with a drafter" : "no drafter",
                j->tokenizer != NULL ? "with a tokenizer" : "no tokenizer", (double)j->bytes / 1e6,
                slip_now_s() - j->started, j->options->out_path);
    return status;
}

slip_status slip_convert_run(const slip_convert_options *options)
{
    if (options->rank != 0)
        return SLIP_OK;
    job j = {.options = options, .started = slip_now_s(), .reported = slip_now_s()};
    slip_status status = convert(&j);
    slip_checkpoint_writer_free(j.writer);
    slip_convert_source_close(&j.target);
    slip_convert_source_close(&j.draft);
    free(j.weights);
    free(j.config);
    free(j.draft_config);
    free(j.tokenizer);
    return status;
}
