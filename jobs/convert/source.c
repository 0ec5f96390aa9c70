#include "jobs/convert/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/base/hash/hash.h"

slip_status slip_convert_source_open(const char *path, const slip_weight_table *table, slip_convert_source *source)
{
    slip_convert_source opened = {.path = path, .table = table};
    slip_status status = slip_safetensors_open(path, &opened.folder);
    if (status != SLIP_OK)
        return status;
    opened.used = calloc(slip_safetensors_count(opened.folder) + 1, sizeof *opened.used);
    if (opened.used == NULL) {
        slip_safetensors_close(opened.folder);
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for its list of tensors", path);
    }
    *source = opened;
    return SLIP_OK;
}

void slip_convert_source_close(slip_convert_source *source)
{
    slip_safetensors_close(source->folder);
    free(source->used);
    memset(source, 0, sizeof *source);
}

/* ---- names ---- */

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

bool slip_convert_source_name(const slip_weight_spec *weight, int which, int64_t expert, const char *suffix, char name[SLIP_SOURCE_NAME])
{
    static const char layer_mark[] = "{layer}", expert_mark[] = "{expert}";
    const char *from = which < SLIP_WEIGHT_SOURCES ? weight->row->source[which] : NULL;
    size_t used = 0;
    if (from == NULL)
        return false;
    while (*from != '\0' && used < SLIP_SOURCE_NAME - 24) { /* a number fits */
        if (starts(from, layer_mark)) {
            used += (size_t)sprintf(name + used, "%d", weight->layer);
            from += sizeof layer_mark - 1;
        } else if (starts(from, expert_mark)) {
            used += (size_t)sprintf(name + used, "%lld", (long long)expert);
            from += sizeof expert_mark - 1;
        } else {
            name[used++] = *from++;
        }
    }
    snprintf(name + used, SLIP_SOURCE_NAME - used, "%s", suffix);
    return true;
}

static const slip_st_tensor *find(const slip_convert_source *source, const slip_weight_spec *weight, int64_t expert, const char *suffix)
{
    char name[SLIP_SOURCE_NAME];
    const slip_st_tensor *tensor = NULL;
    for (int which = 0; tensor == NULL && slip_convert_source_name(weight, which, expert, suffix, name); which++)
        tensor = slip_safetensors_find(source->folder, name);
    return tensor;
}

bool slip_convert_source_has(const slip_convert_source *source, const slip_weight_spec *weight)
{
    return find(source, weight, 0, "") != NULL;
}

const slip_st_tensor *slip_convert_source_take(slip_convert_source *source, const slip_weight_spec *weight, int64_t expert,
                                               const char *suffix)
{
    const slip_st_tensor *tensor = find(source, weight, expert, suffix);
    if (tensor != NULL)
        source->used[tensor - slip_safetensors_at(source->folder, 0)] = true;
    return tensor;
}

/* ---- what is left ---- */

/* "model.", "lm_head.": what the names of a part of the model begin with. */
static size_t stem_size(const char *source)
{
    return strcspn(source, ".") + 1;
}

static bool is_apart(const slip_convert_source *source, const char *name)
{
    const char *const *apart = source->table->apart;
    while (*apart != NULL && !starts(name, *apart))
        apart++;
    return *apart != NULL;
}

/* Everything in a drafter's folder is the model's; in a target's, what begins as a weight of ours and is not known to be apart. Precomputed
 * RoPE frequencies, which old checkpoints carry, are not weights. */
static bool belongs(const slip_convert_source *source, const char *name)
{
    size_t length = strlen(name);
    if (is_apart(source, name) || (length >= 9 && strcmp(name + length - 9, ".inv_freq") == 0))
        return false;
    for (int32_t i = 0; i < source->table->count; i++) {
        const slip_weight_row *row = &source->table->rows[i];
        if (slip_weight_of_draft(row))
            return true;
        for (int which = 0; which < SLIP_WEIGHT_SOURCES && row->source[which] != NULL; which++)
            if (strncmp(name, row->source[which], stem_size(row->source[which])) == 0)
                return true;
    }
    return false;
}

/* What is said of a tensor that the config does not ask for. */
static slip_status refuse_unasked(const slip_convert_source *source, const slip_st_tensor *tensor)
{
    const char *member = NULL;
    for (int32_t i = 0; i < source->table->count; i++) {
        const slip_weight_row *row = &source->table->rows[i];
        for (int which = 0; which < SLIP_WEIGHT_SOURCES && row->source[which] != NULL && row->asked_by != NULL; which++)
            if (strcmp(tensor->name, row->source[which]) == 0)
                member = row->asked_by;
    }
    return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s is not one that the config asks for%s%s", slip_safetensors_path(source->folder, tensor),
                     tensor->name, member != NULL ? ", which would be by " : "", member != NULL ? member : "");
}

slip_status slip_convert_source_check(const slip_convert_source *source, size_t *skipped, const slip_st_tensor **strange)
{
    size_t left = 0;
    const slip_st_tensor *first = NULL;
    for (size_t i = 0; i < slip_safetensors_count(source->folder); i++) {
        const slip_st_tensor *tensor = slip_safetensors_at(source->folder, i);
        if (source->used[i])
            continue;
        if (belongs(source, tensor->name))
            return refuse_unasked(source, tensor);
        if (first == NULL && !is_apart(source, tensor->name))
            first = tensor;
        left++;
    }
    *skipped = left;
    *strange = first;
    return SLIP_OK;
}

/* ---- what is read ---- */

static slip_status hash_file(const char *path, uint64_t *hash)
{
    struct stat info;
    const char *slash = strrchr(path, '/');
    if (stat(path, &info) != 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: is no longer there", path);
    int64_t facts[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
    *hash = slip_hash_field(slip_hash_text(*hash, slash != NULL ? slash + 1 : path), facts, sizeof facts);
    return SLIP_OK;
}

/* Tensors stand in the order of their names, so that their files come in any: each is looked at where its number first shows up. */
slip_status slip_convert_source_hash(const slip_convert_source *source, uint64_t *hash)
{
    size_t count = slip_safetensors_count(source->folder);
    bool *seen = calloc(count + 1, sizeof *seen);
    slip_status status = seen != NULL ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "%s: no memory for its files", source->path);
    for (size_t i = 0; i < count && status == SLIP_OK; i++) {
        const slip_st_tensor *tensor = slip_safetensors_at(source->folder, i);
        int64_t facts[] = {tensor->dtype, tensor->file, tensor->offset, tensor->bytes};
        *hash = slip_hash_field(slip_hash_text(*hash, tensor->name), facts, sizeof facts);
        *hash = slip_hash_field(*hash, tensor->shape, (size_t)tensor->dims * sizeof *tensor->shape);
        size_t file = (size_t)tensor->file; /* a file without tensors has a number too */
        if (file >= count || !seen[file])
            status = hash_file(slip_safetensors_path(source->folder, tensor), hash);
        if (file < count)
            seen[file] = true;
    }
    free(seen);
    return status;
}
