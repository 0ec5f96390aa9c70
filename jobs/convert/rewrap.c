#include "jobs/convert/rewrap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/hash/hash.h"
#include "io/checkpoint/checksum.h"
#include "io/checkpoint/layout.h"
#include "jobs/convert/for_gpus.h"
#include "jobs/convert/values.h"
#include "jobs/convert/write/output.h"
#include "ranks/model/config/settings.h"

typedef struct {
    const slip_convert_options *options;
    slip_checkpoint from;
    slip_model model;
    slip_checkpoint_files files;
    slip_weight_spec *weights;
    size_t weight_count;
    int64_t *weight_bytes, packed_bytes;
    char *settings, origin[24];
    slip_rounding rounding;
    slip_convert_output output;
} job;

/* The first value that is not finite. Bytes of type mxfp4 are scales where the name says so, else codes, which are all finite. */
static int64_t find_bad(const slip_dataset *dataset, const void *data)
{
    size_t length = strlen(dataset->name);
    switch ((slip_dtype)dataset->dtype) {
    case SLIP_F32: return slip_values_find_bad(SLIP_ST_F32, data, dataset->bytes / 4);
    case SLIP_BF16: return slip_values_find_bad(SLIP_ST_BF16, data, dataset->bytes / 2);
    case SLIP_F8E4M3: return slip_values_find_bad(SLIP_ST_F8E4M3, data, dataset->bytes);
    case SLIP_MXFP4:
        return length > 6 && strcmp(dataset->name + length - 6, "_scale") == 0 ? slip_values_find_bad_e8m0(data, dataset->bytes) : -1;
    case SLIP_DTYPES: break;
    }
    return -1;
}

static slip_status copy(job *j, const slip_dataset *dataset, slip_checkpoint_writer *writer)
{
    void *data = malloc((size_t)dataset->bytes);
    if (data == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for /%s", j->options->source_folder, dataset->name);
    slip_status status = slip_checksum_read(&j->from, &j->files, dataset, data);
    int64_t bad = status == SLIP_OK ? find_bad(dataset, data) : -1;
    if (bad >= 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: value %lld is not finite", j->options->source_folder, dataset->name, (long long)bad);
    if (status == SLIP_OK && writer != NULL)
        status = slip_checkpoint_add(writer, dataset, data);
    free(data);
    return status;
}

/* The datasets of a weight, NULL where there is none. */
static void find_datasets(const job *j, size_t weight, const slip_dataset *found[2])
{
    char scale[SLIP_WEIGHT_NAME];
    slip_layout_scale_name(j->weights[weight].name, scale);
    found[0] = slip_checkpoint_find(&j->from, j->weights[weight].name);
    found[1] = slip_checkpoint_find(&j->from, scale);
}

/* `writer` NULL: only look. */
static slip_status copy_weight(void *context, size_t weight, slip_checkpoint_writer *writer)
{
    const slip_dataset *found[2];
    slip_status status = SLIP_OK;
    find_datasets(context, weight, found);
    for (int i = 0; i < 2 && status == SLIP_OK; i++)
        if (found[i] != NULL)
            status = copy(context, found[i], writer);
    return status;
}

static slip_status check_weights(job *j)
{
    slip_status status = SLIP_OK;
    for (size_t i = 0; i < j->weight_count && status == SLIP_OK; i++)
        status = copy_weight(j, i, NULL);
    return status;
}

static slip_status open_source(job *j)
{
    const char *path = j->options->source_folder;
    slip_status status = slip_checkpoint_open(path, &j->from);
    if (status == SLIP_OK)
        status = slip_checkpoint_model(&j->from, path, &j->model);
    if (status == SLIP_OK && j->options->window > 0 && j->model.sliding.window == 0)
        status = slip_fail(SLIP_ERR_INPUT, "--window %d: no layer of %s slides", j->options->window, path);
    if (status == SLIP_OK && j->options->window > 0)
        j->model.sliding.window = j->options->window;
    if (status == SLIP_OK)
        status = slip_convert_check_gpus(j->options, &j->model, &j->from, &j->packed_bytes);
    if (status == SLIP_OK)
        status = slip_weight_list(&j->model, &j->weights, &j->weight_count);
    return status == SLIP_OK ? slip_checkpoint_files_open(&j->from, path, &j->files) : status;
}

/* The old checkpoint in one word: its checksums, or its tables where it has none. */
static void name_origin(job *j)
{
    const slip_checkpoint *from = &j->from;
    uint64_t hash = slip_hash_text(slip_hash_text(SLIP_HASH_START, from->config), j->settings);
    hash = slip_hash_text(hash, from->draft_config != NULL ? from->draft_config : "");
    hash = slip_hash_field(hash, from->tokenizer, from->tokenizer_size);
    hash = slip_hash_field(hash, from->checksums, (size_t)from->checksum_count * sizeof *from->checksums);
    hash = slip_hash_field(hash, from->datasets, (size_t)from->dataset_count * sizeof *from->datasets);
    snprintf(j->origin, sizeof j->origin, "%016llx", (unsigned long long)hash);
}

static slip_status plan(job *j)
{
    const slip_convert_options *options = j->options;
    const slip_dataset *found[2];
    slip_status status = slip_convert_output_absent(options->out_path);
    if (status == SLIP_OK)
        status = open_source(j);
    if (status == SLIP_OK && ((j->settings = slip_settings_text(&j->model)) == NULL ||
                              (j->weight_bytes = calloc(j->weight_count + 1, sizeof *j->weight_bytes)) == NULL))
        status = slip_fail(SLIP_ERR_FAILED, "no memory for the settings");
    if (status != SLIP_OK)
        return status;
    for (size_t i = 0; i < j->weight_count; i++) {
        find_datasets(j, i, found);
        j->weight_bytes[i] = (found[0] != NULL ? found[0]->bytes : 0) + (found[1] != NULL ? found[1]->bytes : 0);
    }
    name_origin(j);
    j->output = (slip_convert_output){
        .comm = options->comm,
        .path = options->out_path,
        .apart = options->files == SLIP_CONVERT_LAYER_FILES ||
                 (options->files == SLIP_CONVERT_BY_SIZE && slip_convert_is_large(j->weight_bytes, j->weight_count)),
        .quiet = options->quiet,
        .origin = j->origin,
        .texts = {j->from.config, j->from.draft_config, j->settings, j->from.tokenizer, j->from.tokenizer_size, false},
        .weights = j->weights,
        .count = j->weight_count,
        .bytes = j->weight_bytes,
        .bytes_beside = j->packed_bytes,
        .write = copy_weight,
        .context = j,
        .rounding = &j->rounding,
    };
    return slip_convert_output_check(&j->output);
}

static slip_status rewrap(job *j)
{
    bool speaks = slip_convert_speaks(j->options), write = !j->options->dry_run;
    slip_status status = slip_convert_agree(j->options->comm, plan(j));
    if (status == SLIP_OK && write)
        status = slip_convert_output_write(&j->output);
    else if (status == SLIP_OK)
        status = slip_convert_agree(j->options->comm, speaks ? check_weights(j) : SLIP_OK);
    if (status == SLIP_OK && speaks && !j->options->quiet)
        fprintf(stderr, "%s %s of version %d -> %s%s\n", write ? "copied" : "checked", j->options->source_folder, j->from.version,
                j->options->out_path, write ? ", with checksums" : ", which was not written");
    return status == SLIP_OK ? slip_convert_output_figures(&j->output, j->options->json) : status;
}

slip_status slip_convert_rewrap(const slip_convert_options *options)
{
    if (options->draft_folder != NULL || options->experts == SLIP_CONVERT_MXFP4)
        return slip_fail(SLIP_ERR_INPUT, "%s: a checkpoint is copied as it is: --draft and --experts mxfp4 are for folders",
                         options->source_folder);
    job j = {.options = options};
    slip_status status = rewrap(&j);
    slip_checkpoint_files_close(&j.files);
    slip_checkpoint_free(&j.from);
    slip_rounding_clear(&j.rounding);
    free(j.settings);
    free(j.weight_bytes);
    free(j.weights);
    return status;
}
