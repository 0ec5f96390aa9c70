#include "io/checkpoint/safetensors/safetensors.h"
#include "io/base/json.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/base/printable.h"
#include "io/checkpoint/safetensors/header.h"

enum { FILES_MAX = 1000, INDEX_MAX = 256 << 20 };

static const char index_name[] = "model.safetensors.index.json";

typedef struct {
    char *path;
    const char *base; /* the part of path after the folder */
    int fd;
    int64_t size;
} shard_file;

struct slip_safetensors {
    char *path; /* of the folder */
    shard_file *shards;
    int shard_count;
    slip_st_tensor *tensors; /* sorted by name */
    size_t count;
    int32_t tp_size;
    int64_t total_size; /* as the index has it; -1: it does not say */
};

static int by_base(const void *left, const void *right)
{
    return strcmp(((const shard_file *)left)->base, ((const shard_file *)right)->base);
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const slip_st_tensor *)left)->name, ((const slip_st_tensor *)right)->name);
}

static slip_status no_memory(const slip_safetensors *folder)
{
    return slip_fail(SLIP_ERR_FAILED, "%s: no memory for its table of tensors", folder->path);
}

/* ---- which files ---- */

static slip_status add_shard(slip_safetensors *folder, const char *base)
{
    if (folder->shard_count == FILES_MAX)
        return slip_fail(SLIP_ERR_INPUT, "%s: more than %d safetensors files", folder->path, FILES_MAX);
    shard_file *grown = realloc(folder->shards, (size_t)(folder->shard_count + 1) * sizeof *grown);
    if (grown == NULL)
        return no_memory(folder);
    folder->shards = grown;
    shard_file *added = &grown[folder->shard_count];
    added->fd = -1;
    if (asprintf(&added->path, "%s%s%s", folder->path, slip_file_slash(folder->path), base) < 0)
        return no_memory(folder);
    added->base = added->path + strlen(added->path) - strlen(base);
    folder->shard_count++;
    return SLIP_OK;
}

static slip_status add_listed_shards(slip_safetensors *folder, const json_t *weight_map)
{
    const char *tensor;
    json_t *value;
    json_object_foreach ((json_t *)weight_map, tensor, value) {
        const char *base = json_string_value(value);
        if (base == NULL || base[0] == '\0' || base[0] == '.' || strchr(base, '/') != NULL)
            return slip_fail(SLIP_ERR_INPUT, "%s/%s: weight_map of %.128s does not name a file of the folder", folder->path, index_name,
                             tensor);
        int known = 0;
        while (known < folder->shard_count && strcmp(folder->shards[known].base, base) != 0)
            known++;
        if (known < folder->shard_count)
            continue;
        slip_status status = add_shard(folder, base);
        if (status != SLIP_OK)
            return status;
    }
    return SLIP_OK;
}

static bool is_shard_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return name[0] != '.' && dot != NULL && strcmp(dot, ".safetensors") == 0;
}

static slip_status add_all_shards(slip_safetensors *folder)
{
    DIR *directory = opendir(folder->path);
    if (directory == NULL)
        return slip_fail(slip_file_blame(errno), "%s: cannot be opened as a folder: %s", folder->path, strerror(errno));
    slip_status status = SLIP_OK;
    for (struct dirent *entry; status == SLIP_OK && (entry = readdir(directory)) != NULL;)
        if (is_shard_name(entry->d_name))
            status = add_shard(folder, entry->d_name);
    closedir(directory);
    if (status == SLIP_OK && folder->shard_count == 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: holds no *.safetensors file", folder->path);
    return status;
}

/* *weight_map stays NULL where there is no index; the caller drops *root. */
static slip_status read_index(const slip_safetensors *folder, json_t **root, const json_t **weight_map)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s%s%s", folder->path, slip_file_slash(folder->path), index_name) >= (int)sizeof path)
        return slip_fail(SLIP_ERR_INPUT, "%s: path too long", folder->path);
    if (!slip_file_is_there(path))
        return SLIP_OK;
    char *text;
    size_t size;
    slip_status status = slip_file_read(path, INDEX_MAX, &text, &size);
    if (status != SLIP_OK)
        return status;
    json_error_t error;
    json_t *index = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (index == NULL)
        return slip_json_refuse(path, "", &error);
    const json_t *map = json_object_get(index, "weight_map");
    if (json_object_size(map) == 0) {
        json_decref(index);
        return slip_fail(SLIP_ERR_INPUT, "%s: weight_map is missing or empty", path);
    }
    *root = index;
    *weight_map = map;
    return SLIP_OK;
}

static slip_status read_tp_size(slip_safetensors *folder, const json_t *root)
{
    const json_t *value = json_object_get(json_object_get(root, "metadata"), "tp_size");
    json_int_t size = json_integer_value(value);
    if (value == NULL || json_is_null(value))
        return SLIP_OK;
    if (!json_is_integer(value) || size < 1 || size > 1 << 20)
        return slip_fail(SLIP_ERR_INPUT, "%s/%s: metadata.tp_size is not an integer from 1 on", folder->path, index_name);
    folder->tp_size = (int32_t)size;
    return SLIP_OK;
}

/* Written by many hands, some as 1e12: any number. */
static slip_status read_total_size(slip_safetensors *folder, const json_t *root)
{
    const json_t *value = json_object_get(json_object_get(root, "metadata"), "total_size");
    double size = json_number_value(value);
    folder->total_size = -1;
    if (value == NULL || json_is_null(value))
        return SLIP_OK;
    if (!json_is_number(value) || !(size >= 0 && size < 0x1p53))
        return slip_fail(SLIP_ERR_INPUT, "%s/%s: metadata.total_size is not a number of bytes", folder->path, index_name);
    folder->total_size = (int64_t)size;
    return SLIP_OK;
}

/* ---- what is in them ---- */

/* Takes the tensors over, whether it succeeds or not. */
static slip_status append_tensors(slip_safetensors *folder, slip_st_tensor *tensors, size_t count)
{
    /* One more than needed: a file may hold none. */
    slip_st_tensor *grown = realloc(folder->tensors, (folder->count + count + 1) * sizeof *grown);
    if (grown == NULL) {
        slip_st_tensors_free(tensors, count);
        return no_memory(folder);
    }
    memcpy(grown + folder->count, tensors, count * sizeof *tensors);
    free(tensors);
    folder->tensors = grown;
    folder->count += count;
    return SLIP_OK;
}

static slip_status read_header(slip_safetensors *folder, int file)
{
    shard_file *shard = &folder->shards[file];
    int64_t file_size;
    slip_status status = slip_file_open(shard->path, &shard->fd, &file_size);
    if (status != SLIP_OK)
        return status;
    shard->size = file_size;
    unsigned char length[8];
    uint64_t header_size = 0;
    if (file_size < 8)
        return slip_fail(SLIP_ERR_INPUT, "%s: %lld bytes are too few for a safetensors file", shard->path, (long long)file_size);
    status = slip_file_read_at(shard->fd, shard->path, length, 8, 0);
    if (status != SLIP_OK)
        return status;
    for (int i = 7; i >= 0; i--)
        header_size = header_size << 8 | length[i];
    if (header_size > SLIP_ST_HEADER_MAX || header_size > (uint64_t)file_size - 8)
        return slip_fail(SLIP_ERR_INPUT, "%s: header length %llu, but the file has %lld bytes and the limit is %d", shard->path,
                         (unsigned long long)header_size, (long long)file_size, SLIP_ST_HEADER_MAX);
    char *header = malloc(header_size + 1);
    if (header == NULL)
        return no_memory(folder);
    slip_st_tensor *tensors = NULL;
    size_t count = 0;
    status = slip_file_read_at(shard->fd, shard->path, header, (int64_t)header_size, 8);
    if (status == SLIP_OK)
        status = slip_st_header_parse(header, header_size, file_size, shard->path, file, &tensors, &count);
    free(header);
    if (status != SLIP_OK)
        return status;
    return append_tensors(folder, tensors, count);
}

static slip_status read_headers(slip_safetensors *folder)
{
    /* The order of readdir must not decide which file an error names. */
    if (folder->shard_count > 1)
        qsort(folder->shards, (size_t)folder->shard_count, sizeof *folder->shards, by_base);
    for (int i = 0; i < folder->shard_count; i++) {
        slip_status status = read_header(folder, i);
        if (status != SLIP_OK)
            return status;
    }
    if (folder->count > 1)
        qsort(folder->tensors, folder->count, sizeof *folder->tensors, by_name);
    for (size_t i = 1; i < folder->count; i++)
        if (by_name(&folder->tensors[i - 1], &folder->tensors[i]) == 0)
            return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s is also in %s", slip_safetensors_path(folder, &folder->tensors[i]),
                             folder->tensors[i].name, folder->shards[folder->tensors[i - 1].file].base);
    return SLIP_OK;
}

static slip_status check_index(const slip_safetensors *folder, const json_t *weight_map)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)weight_map, name, value) {
        const slip_st_tensor *tensor = slip_safetensors_find(folder, name);
        if (tensor == NULL || strcmp(folder->shards[tensor->file].base, json_string_value(value)) != 0)
            return slip_fail(SLIP_ERR_INPUT, "%s/%s: tensor %.128s is not in %.128s", folder->path, index_name, name,
                             json_string_value(value));
    }
    return SLIP_OK;
}

slip_status slip_safetensors_open(const char *path, slip_safetensors **folder_out)
{
    slip_safetensors *folder = calloc(1, sizeof *folder);
    if (folder == NULL || (folder->path = strdup(path)) == NULL) {
        free(folder);
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to open it", path);
    }
    json_t *root = NULL;
    const json_t *weight_map = NULL;
    slip_status status = read_index(folder, &root, &weight_map);
    if (status == SLIP_OK)
        status = read_tp_size(folder, root);
    if (status == SLIP_OK)
        status = read_total_size(folder, root);
    if (status == SLIP_OK)
        status = weight_map != NULL ? add_listed_shards(folder, weight_map) : add_all_shards(folder);
    if (status == SLIP_OK)
        status = read_headers(folder);
    if (status == SLIP_OK && weight_map != NULL)
        status = check_index(folder, weight_map);
    json_decref(root);
    if (status != SLIP_OK) {
        slip_safetensors_close(folder);
        return status;
    }
    *folder_out = folder;
    return SLIP_OK;
}

void slip_safetensors_close(slip_safetensors *folder)
{
    if (folder == NULL)
        return;
    for (int i = 0; i < folder->shard_count; i++) {
        if (folder->shards[i].fd >= 0)
            close(folder->shards[i].fd);
        free(folder->shards[i].path);
    }
    slip_st_tensors_free(folder->tensors, folder->count);
    free(folder->shards);
    free(folder->path);
    free(folder);
}

int32_t slip_safetensors_tp_size(const slip_safetensors *folder)
{
    return folder->tp_size;
}

int64_t slip_safetensors_total_size(const slip_safetensors *folder, int64_t *tensors, int64_t *files)
{
    *tensors = *files = 0; /* offsets that are checked: no sum of them wraps */
    for (size_t i = 0; i < folder->count; i++)
        *tensors += folder->tensors[i].bytes;
    for (int i = 0; i < folder->shard_count; i++)
        *files += folder->shards[i].size;
    return folder->total_size;
}

static bool is_open(const slip_safetensors *folder, const char *base)
{
    for (int i = 0; i < folder->shard_count; i++)
        if (strcmp(folder->shards[i].base, base) == 0)
            return true;
    return false;
}

size_t slip_safetensors_unlisted(const slip_safetensors *folder, char name[static SLIP_SAFETENSORS_NAME])
{
    DIR *directory = opendir(folder->path);
    size_t count = 0;
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        if (is_shard_name(entry->d_name) && !is_open(folder, entry->d_name) && (count++ == 0 || strcmp(entry->d_name, name) < 0))
            snprintf(name, SLIP_SAFETENSORS_NAME, "%s", entry->d_name);
    if (directory != NULL)
        closedir(directory);
    if (count > 0)
        slip_make_printable(name);
    return count;
}

const slip_st_tensor *slip_safetensors_find(const slip_safetensors *folder, const char *name)
{
    if (folder->count == 0)
        return NULL;
    slip_st_tensor key = {.name = name};
    return bsearch(&key, folder->tensors, folder->count, sizeof key, by_name);
}

const char *slip_safetensors_path(const slip_safetensors *folder, const slip_st_tensor *tensor)
{
    return folder->shards[tensor->file].path;
}

size_t slip_safetensors_count(const slip_safetensors *folder)
{
    return folder->count;
}

const slip_st_tensor *slip_safetensors_at(const slip_safetensors *folder, size_t index)
{
    return &folder->tensors[index];
}

slip_status slip_safetensors_read(const slip_safetensors *folder, const slip_st_tensor *tensor, int64_t offset, int64_t bytes, void *out)
{
    const shard_file *shard = &folder->shards[tensor->file];
    if (offset < 0 || bytes < 0 || offset > tensor->bytes || bytes > tensor->bytes - offset)
        return slip_fail(SLIP_ERR_FAILED, "%s: tensor %s: %lld bytes at %lld are outside of its %lld", shard->path, tensor->name,
                         (long long)bytes, (long long)offset, (long long)tensor->bytes);
    return slip_file_read_at(shard->fd, shard->path, out, bytes, tensor->offset + offset);
}
