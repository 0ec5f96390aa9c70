#include "io/checkpoint/safetensors/header.h"
#include "io/base/json.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    slip_st_dtype dtype;
    int bytes;
} dtype_row;

/* Types we never convert are still measured, since a folder may hold tensors of parts we skip. */
static const dtype_row dtype_rows[] = {
    {"F32", SLIP_ST_F32, 4},    {"BF16", SLIP_ST_BF16, 2},     {"F16", SLIP_ST_F16, 2},        {"F8_E4M3", SLIP_ST_F8E4M3, 1},
    {"U8", SLIP_ST_U8, 1},      {"F8_E5M2", SLIP_ST_OTHER, 1}, {"F8_E8M0", SLIP_ST_F8E8M0, 1}, {"I8", SLIP_ST_OTHER, 1},
    {"BOOL", SLIP_ST_OTHER, 1}, {"I16", SLIP_ST_OTHER, 2},     {"U16", SLIP_ST_OTHER, 2},      {"I32", SLIP_ST_OTHER, 4},
    {"U32", SLIP_ST_OTHER, 4},  {"I64", SLIP_ST_OTHER, 8},     {"U64", SLIP_ST_OTHER, 8},      {"F64", SLIP_ST_OTHER, 8},
    {"C64", SLIP_ST_OTHER, 8},
};

static const dtype_row *find_dtype(const char *name)
{
    for (size_t i = 0; i < sizeof dtype_rows / sizeof *dtype_rows; i++)
        if (strcmp(dtype_rows[i].name, name) == 0)
            return &dtype_rows[i];
    return NULL;
}

/* *item_bytes is 0 for a type that is not known. */
static slip_status parse_dtype(const json_t *info, const char *source, slip_st_tensor *tensor, int *item_bytes)
{
    const char *name = json_string_value(json_object_get(info, "dtype"));
    if (name == NULL)
        return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: dtype is missing or not a string", source, tensor->name);
    const dtype_row *row = find_dtype(name);
    tensor->dtype = row != NULL ? row->dtype : SLIP_ST_OTHER;
    *item_bytes = row != NULL ? row->bytes : 0;
    return SLIP_OK;
}

/* Shape, and the bytes it asks for. */
static slip_status parse_shape(const json_t *info, const char *source, slip_st_tensor *tensor, int item_bytes)
{
    const json_t *shape = json_object_get(info, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > SLIP_TENSOR_DIMS)
        return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: shape is not a list of at most %d sizes", source, tensor->name, SLIP_TENSOR_DIMS);
    tensor->dims = (int)json_array_size(shape);
    tensor->bytes = item_bytes;
    for (int i = 0; i < tensor->dims; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: shape[%d] is not a size", source, tensor->name, i);
        tensor->shape[i] = json_integer_value(size);
        if (__builtin_mul_overflow(tensor->bytes, tensor->shape[i], &tensor->bytes))
            return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: shape[%d] = %lld makes it larger than any file", source, tensor->name, i,
                             (long long)tensor->shape[i]);
    }
    return SLIP_OK;
}

/* Offsets count from the start of the data; `data_size` bytes of it follow the header at `data_start`. */
static slip_status parse_offsets(const json_t *info, const char *source, int64_t data_start, int64_t data_size, int item_bytes,
                                 slip_st_tensor *tensor)
{
    const json_t *offsets = json_object_get(info, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: data_offsets is not a pair of integers", source, tensor->name);
    int64_t first = json_integer_value(begin), last = json_integer_value(end);
    if (first < 0 || last < first || last > data_size)
        return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: data_offsets [%lld, %lld] are outside of the %lld bytes of data", source,
                         tensor->name, (long long)first, (long long)last, (long long)data_size);
    if (item_bytes == 0)
        tensor->bytes = last - first;
    if (last - first != tensor->bytes)
        return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: data_offsets hold %lld bytes, its shape asks for %lld", source, tensor->name,
                         (long long)(last - first), (long long)tensor->bytes);
    tensor->offset = data_start + first;
    return SLIP_OK;
}

static slip_status parse_tensor(const char *name, const json_t *info, const char *source, int64_t data_start, int64_t data_size,
                                slip_st_tensor *tensor)
{
    if (name[0] == '\0')
        return slip_fail(SLIP_ERR_INPUT, "%s: a tensor's name is empty", source);
    if (!json_is_object(info))
        return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: not an object", source, name);
    slip_st_tensor parsed = {.name = name, .file = tensor->file};
    int item_bytes = 0;
    slip_status status = parse_dtype(info, source, &parsed, &item_bytes);
    if (status == SLIP_OK)
        status = parse_shape(info, source, &parsed, item_bytes);
    if (status == SLIP_OK)
        status = parse_offsets(info, source, data_start, data_size, item_bytes, &parsed);
    if (status != SLIP_OK)
        return status;
    parsed.name = strdup(name);
    if (parsed.name == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for the name of a tensor", source);
    *tensor = parsed;
    return SLIP_OK;
}

static slip_status check_metadata(const json_t *metadata, const char *source)
{
    const char *key;
    json_t *value;
    if (json_is_null(metadata))
        return SLIP_OK;
    if (!json_is_object(metadata))
        return slip_fail(SLIP_ERR_INPUT, "%s: __metadata__ is not an object", source);
    json_object_foreach ((json_t *)metadata, key, value)
        if (!json_is_string(value))
            return slip_fail(SLIP_ERR_INPUT, "%s: __metadata__.%.64s is not a string", source, key);
    return SLIP_OK;
}

static int by_offset(const void *left, const void *right)
{
    const slip_st_tensor *a = left, *b = right;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes); /* an empty tensor comes before its neighbour */
}

/* Every byte of the data belongs to one tensor. Sorts the tensors by offset. */
static slip_status check_cover(slip_st_tensor *tensors, size_t count, int64_t data_start, int64_t file_size, const char *source)
{
    qsort(tensors, count, sizeof *tensors, by_offset);
    int64_t expected = data_start;
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].offset != expected)
            return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s begins at byte %lld of the data, %s byte %lld", source, tensors[i].name,
                             (long long)(tensors[i].offset - data_start),
                             tensors[i].offset < expected ? "overlapping the tensor that ends at" : "leaving a gap after",
                             (long long)(expected - data_start));
        expected += tensors[i].bytes;
    }
    if (expected != file_size)
        return slip_fail(SLIP_ERR_INPUT, "%s: %lld bytes after the last tensor", source, (long long)(file_size - expected));
    return SLIP_OK;
}

static slip_status list_tensors(json_t *root, int64_t data_start, int64_t file_size, const char *source, int file, slip_st_tensor *list,
                                size_t *count)
{
    const char *name;
    json_t *info;
    json_object_foreach (root, name, info) {
        slip_status status;
        if (strcmp(name, "__metadata__") == 0) {
            status = check_metadata(info, source);
        } else {
            list[*count].file = file;
            status = parse_tensor(name, info, source, data_start, file_size - data_start, &list[*count]);
            *count += status == SLIP_OK;
        }
        if (status != SLIP_OK)
            return status;
    }
    return check_cover(list, *count, data_start, file_size, source);
}

void slip_st_tensors_free(slip_st_tensor *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((char *)tensors[i].name);
    free(tensors);
}

slip_status slip_st_header_parse(const char *header, size_t header_size, int64_t file_size, const char *source, int file,
                                 slip_st_tensor **tensors, size_t *count)
{
    if (header_size > SLIP_ST_HEADER_MAX || file_size < 8 || (int64_t)header_size > file_size - 8)
        return slip_fail(SLIP_ERR_INPUT, "%s: header length %zu, but the file has %lld bytes and the limit is %d", source, header_size,
                         (long long)file_size, SLIP_ST_HEADER_MAX);
    if (header_size == 0 || header[0] != '{')
        return slip_fail(SLIP_ERR_INPUT, "%s: the header does not begin with {", source);
    json_error_t error;
    json_t *root = json_loadb(header, header_size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return slip_fail(SLIP_ERR_INPUT, "%s: header: byte %d: %s", source, error.position, error.text);
    slip_status status;
    slip_st_tensor *list = NULL;
    size_t listed = 0, entries = json_object_size(root);
    if (entries > SLIP_ST_TENSORS_MAX) {
        status = slip_fail(SLIP_ERR_INPUT, "%s: %zu tensors, more than the %d allowed", source, entries, SLIP_ST_TENSORS_MAX);
        goto err_root;
    }
    list = calloc(entries + 1, sizeof *list);
    if (list == NULL) {
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory for %zu tensors", source, entries);
        goto err_root;
    }
    status = list_tensors(root, 8 + (int64_t)header_size, file_size, source, file, list, &listed);
    if (status != SLIP_OK)
        goto err_list;
    json_decref(root);
    *tensors = list;
    *count = listed;
    return SLIP_OK;

err_list:
    slip_st_tensors_free(list, listed);
err_root:
    json_decref(root);
    return status;
}

slip_status slip_safetensors_check(const char *header, size_t header_size, int64_t file_size, const char *source, size_t *count)
{
    slip_st_tensor *tensors = NULL;
    size_t tensor_count = 0;
    slip_status status = slip_st_header_parse(header, header_size, file_size, source, 0, &tensors, &tensor_count);
    if (status != SLIP_OK)
        return status;
    slip_st_tensors_free(tensors, tensor_count);
    *count = tensor_count;
    return SLIP_OK;
}
