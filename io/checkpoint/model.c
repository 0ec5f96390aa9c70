/* What an open checkpoint holds: its datasets by name, and the model that its config describes. */
#include "io/checkpoint/checkpoint.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint/layout.h"
#include "io/checkpoint/parts.h"
#include "ranks/model/config/settings.h"
#include "ranks/model/family.h"

static int by_name(const void *left, const void *right)
{
    return strcmp(((const slip_dataset *)left)->name, ((const slip_dataset *)right)->name);
}

const slip_dataset *slip_checkpoint_find(const slip_checkpoint *checkpoint, const char *name)
{
    slip_dataset key;
    size_t length = strlen(name);
    if (checkpoint->dataset_count == 0 || length >= sizeof key.name)
        return NULL;
    memcpy(key.name, name, length + 1);
    return bsearch(&key, checkpoint->datasets, (size_t)checkpoint->dataset_count, sizeof key, by_name);
}

void slip_checkpoint_free(slip_checkpoint *checkpoint)
{
    free(checkpoint->config);
    free(checkpoint->draft_config);
    free(checkpoint->settings);
    free(checkpoint->tokenizer);
    free(checkpoint->datasets);
    free(checkpoint->checksums);
    free(checkpoint->parts);
    free(checkpoint->origin);
    free(checkpoint->rounding);
    memset(checkpoint, 0, sizeof *checkpoint);
}

/* ---- the table against the config ---- */

static void describe_shape(const slip_dataset *dataset, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < dataset->dims && i < SLIP_DATASET_DIMS && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i > 0 ? ", " : "", (long long)dataset->shape[i]);
}

/* What is wrong with dataset `name`, under the path of the file that has it, or should: the layer's, where the index has a link to one. */
__attribute__((format(printf, 4, 5))) static slip_status refuse(const slip_checkpoint *checkpoint, const char *source, const char *name,
                                                                const char *why, ...)
{
    char reason[256], group[SLIP_PART_GROUP], *file = NULL;
    va_list arguments;
    va_start(arguments, why);
    vsnprintf(reason, sizeof reason, why, arguments);
    va_end(arguments);
    bool of_part = slip_part_of_weight(name, group);
    for (int32_t i = 0; i < checkpoint->part_count && of_part && file == NULL; i++)
        if (strncmp(checkpoint->parts[i].group, group, sizeof group) == 0)
            file = slip_part_path(source, group);
    slip_status status = slip_fail(SLIP_ERR_INPUT, "%s: /%s%s", file ? file : source, name, reason);
    free(file);
    return status;
}

static slip_status check_shape(const slip_checkpoint *checkpoint, const char *source, const slip_dataset *found,
                               const slip_dataset *expected)
{
    if (found->dims != expected->dims || memcmp(found->shape, expected->shape, (size_t)expected->dims * sizeof *expected->shape) != 0) {
        char is[80], must[80];
        describe_shape(found, is, sizeof is);
        describe_shape(expected, must, sizeof must);
        return refuse(checkpoint, source, expected->name, ": shape [%s], but its config asks for [%s]", is, must);
    }
    int64_t file_size = found->file > 0 && found->file <= checkpoint->part_count ? checkpoint->parts[found->file - 1].bytes
                        : found->file == 0                                       ? checkpoint->file_size
                                                                                 : 0;
    if (found->bytes != expected->bytes || found->offset < 0 || found->offset > file_size || found->bytes > file_size - found->offset)
        return refuse(checkpoint, source, expected->name, ": %lld bytes at %lld; its shape needs %lld and the file has %lld",
                      (long long)found->bytes, (long long)found->offset, (long long)expected->bytes, (long long)file_size);
    return SLIP_OK;
}

static slip_status check_scales(const slip_checkpoint *checkpoint, const char *source, const slip_dataset *expected, bool *known)
{
    const slip_dataset *scales = slip_checkpoint_find(checkpoint, expected->name);
    if (scales == NULL)
        return refuse(checkpoint, source, expected->name, " is missing");
    known[scales - checkpoint->datasets] = true;
    if (scales->dtype != expected->dtype)
        return refuse(checkpoint, source, expected->name, ": dtype is not %s", slip_dtype_name((slip_dtype)expected->dtype));
    return check_shape(checkpoint, source, scales, expected);
}

static slip_status check_weight(const slip_checkpoint *checkpoint, const char *source, const slip_weight_spec *weight, bool *known)
{
    const slip_dataset *found = slip_checkpoint_find(checkpoint, weight->name);
    if (found == NULL && weight->row->optional)
        return SLIP_OK;
    if (found == NULL)
        return refuse(checkpoint, source, weight->name, " is missing");
    known[found - checkpoint->datasets] = true;
    if (found->dtype < 0 || found->dtype >= SLIP_DTYPES)
        return refuse(checkpoint, source, weight->name, ": dtype %d is unknown", found->dtype);
    slip_dtype dtype = (slip_dtype)found->dtype;
    if (!slip_layout_allows(weight, dtype))
        return refuse(checkpoint, source, weight->name, ": cannot be of dtype %s", slip_dtype_name(dtype));
    slip_dataset codes, scales;
    slip_layout_datasets(weight, dtype, &codes, &scales);
    slip_status status = check_shape(checkpoint, source, found, &codes);
    if (status == SLIP_OK && scales.bytes > 0)
        status = check_scales(checkpoint, source, &scales, known);
    return status;
}

/* Sorted, every name ended and given once: slip_checkpoint_find relies on it. */
static slip_status check_names(const slip_checkpoint *checkpoint, const char *source)
{
    for (int32_t i = 0; i < checkpoint->dataset_count; i++) {
        const slip_dataset *dataset = &checkpoint->datasets[i];
        if (memchr(dataset->name, '\0', sizeof dataset->name) == NULL)
            return slip_fail(SLIP_ERR_INPUT, "%s: dataset %d: its name does not end", source, i);
        if (i > 0 && by_name(dataset - 1, dataset) >= 0)
            return refuse(checkpoint, source, dataset->name, ": given twice or out of order");
    }
    return SLIP_OK;
}

static slip_status check_weights(const slip_checkpoint *checkpoint, const char *source, const slip_weight_spec *weights, size_t count)
{
    bool *known = calloc((size_t)checkpoint->dataset_count + 1, sizeof *known);
    if (known == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to check %d datasets", source, checkpoint->dataset_count);
    slip_status status = SLIP_OK;
    for (size_t i = 0; i < count && status == SLIP_OK; i++)
        status = check_weight(checkpoint, source, &weights[i], known);
    for (int32_t i = 0; i < checkpoint->dataset_count && status == SLIP_OK; i++)
        if (!known[i])
            status = refuse(checkpoint, source, checkpoint->datasets[i].name, " is not a dataset that its config asks for");
    free(known);
    return status;
}

/* "SOURCE, config", so that a fault of the JSON names where it stands. */
static slip_status parse_configs(const slip_checkpoint *checkpoint, const char *source, slip_model *model)
{
    char where[512];
    snprintf(where, sizeof where, "%.480s, config", source);
    slip_status status = slip_config_parse(checkpoint->config, strlen(checkpoint->config), where, model);
    snprintf(where, sizeof where, "%.480s, settings", source);
    if (status == SLIP_OK && checkpoint->settings != NULL)
        status = slip_settings_apply(checkpoint->settings, strlen(checkpoint->settings), where, model);
    if (status != SLIP_OK || checkpoint->draft_config == NULL)
        return status;
    snprintf(where, sizeof where, "%.480s, draft_config", source);
    return slip_config_parse_draft(checkpoint->draft_config, strlen(checkpoint->draft_config), where, model);
}

slip_status slip_checkpoint_model(const slip_checkpoint *checkpoint, const char *source, slip_model *model)
{
    slip_model parsed;
    slip_status status = parse_configs(checkpoint, source, &parsed);
    if (status == SLIP_OK)
        status = check_names(checkpoint, source);
    slip_weight_spec *weights = NULL;
    size_t count = 0;
    if (status == SLIP_OK)
        status = slip_weight_list(&parsed, &weights, &count);
    if (status == SLIP_OK)
        status = check_weights(checkpoint, source, weights, count);
    for (size_t i = 0; i < count; i++)
        if (weights[i].row->optional)
            parsed.draft.mask_embedding = slip_checkpoint_find(checkpoint, weights[i].name) != NULL;
    free(weights);
    if (status == SLIP_OK)
        *model = parsed;
    return status;
}
