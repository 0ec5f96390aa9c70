#include "jobs/convert/rewrap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/base/file/lock.h"
#include "io/checkpoint/checksum.h"
#include "io/checkpoint/layout.h"
#include "jobs/convert/values.h"
#include "ranks/model/config/settings.h"

typedef struct {
    const slip_convert_options *options;
    slip_checkpoint from;
    slip_model model;
    slip_checked_file file;
    slip_weight_spec *weights;
    size_t weight_count;
    slip_checkpoint_writer *writer;
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

static slip_status copy(job *j, const slip_dataset *dataset)
{
    void *data = malloc((size_t)dataset->bytes);
    if (data == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for /%s", j->options->source_folder, dataset->name);
    slip_status status = slip_checked_read(&j->file, dataset, 0, dataset->bytes, data);
    int64_t bad = status == SLIP_OK ? find_bad(dataset, data) : -1;
    if (bad >= 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: value %lld is not finite", j->options->source_folder, dataset->name, (long long)bad);
    if (status == SLIP_OK && j->writer != NULL)
        status = slip_checkpoint_add(j->writer, dataset, data);
    free(data);
    return status;
}

static slip_status copy_weights(job *j)
{
    slip_status status = SLIP_OK;
    for (size_t i = 0; i < j->weight_count && status == SLIP_OK; i++) {
        char scale[SLIP_WEIGHT_NAME];
        slip_layout_scale_name(j->weights[i].name, scale);
        const slip_dataset *codes = slip_checkpoint_find(&j->from, j->weights[i].name), *scales = slip_checkpoint_find(&j->from, scale);
        if (codes != NULL)
            status = copy(j, codes);
        if (status == SLIP_OK && scales != NULL)
            status = copy(j, scales);
    }
    return status;
}

static slip_status open_source(job *j)
{
    const char *path = j->options->source_folder;
    int64_t size;
    slip_status status = slip_checkpoint_open(path, &j->from);
    if (status == SLIP_OK)
        status = slip_checkpoint_model(&j->from, path, &j->model);
    if (status == SLIP_OK && j->options->window > 0 && j->model.sliding.window == 0)
        status = slip_fail(SLIP_ERR_INPUT, "--window %d: no layer of %s slides", j->options->window, path);
    if (status == SLIP_OK && j->options->window > 0)
        j->model.sliding.window = j->options->window;
    if (status == SLIP_OK)
        status = slip_weight_list(&j->model, &j->weights, &j->weight_count);
    j->file = (slip_checked_file){.checkpoint = &j->from, .path = path, .file = -1};
    return status == SLIP_OK ? slip_file_open(path, &j->file.file, &size) : status;
}

static slip_status create(job *j)
{
    char *settings = slip_settings_text(&j->model);
    const slip_checkpoint_texts texts = {j->from.config, j->from.draft_config, settings, j->from.tokenizer, j->from.tokenizer_size};
    slip_status status = settings != NULL ? slip_checkpoint_create(j->options->out_path, &texts, &j->writer)
                                          : slip_fail(SLIP_ERR_FAILED, "no memory for the settings");
    free(settings);
    return status;
}

static slip_status rewrap(job *j)
{
    slip_lock *lock = NULL;
    slip_status status = open_source(j);
    bool write = !j->options->dry_run;
    if (status == SLIP_OK && write)
        status = slip_lock_take(j->options->out_path, &lock);
    if (status == SLIP_OK && write)
        status = create(j);
    if (status == SLIP_OK)
        status = copy_weights(j);
    if (status == SLIP_OK && write)
        status = slip_checkpoint_commit(j->writer);
    slip_checkpoint_writer_free(j->writer);
    slip_lock_release(lock);
    if (status == SLIP_OK && !j->options->quiet)
        fprintf(stderr, "%s %s of version %d -> %s%s\n", write ? "copied" : "checked", j->options->source_folder, j->from.version,
                j->options->out_path, write ? ", with checksums" : ", which was not written");
    return status;
}

slip_status slip_convert_rewrap(const slip_convert_options *options)
{
    if (options->draft_folder != NULL || options->experts == SLIP_CONVERT_MXFP4)
        return slip_fail(SLIP_ERR_INPUT, "%s: a checkpoint is copied as it is: --draft and --experts mxfp4 are for folders",
                         options->source_folder);
    job j = {.options = options, .file = {.file = -1}};
    slip_status status = rewrap(&j);
    slip_checked_close(&j.file);
    if (j.file.file >= 0)
        close(j.file.file);
    slip_checkpoint_free(&j.from);
    free(j.weights);
    return status;
}
