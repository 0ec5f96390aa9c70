#include "io/checkpoint/checkpoint.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint/checksum.h"
#include "io/checkpoint/hdf5.h"
#include "io/checkpoint/layout.h"
#include "io/checkpoint/superblock.h"
#include "io/base/file/file.h"

enum { DEPTH_MAX = 5, OBJECTS_MAX = 2 * SLIP_CHECKPOINT_DATASETS_MAX, NAME_MAX_BYTES = SLIP_WEIGHT_NAME - 1 };

/* What one opening gathers. */
typedef struct {
    slip_hdf5_source source;
    slip_dataset *datasets;
    int32_t count, capacity;
    int32_t objects;                   /* seen so far, groups and datasets */
    slip_dataset tokenizer, checksums; /* bytes 0: none */
    slip_status status;
} reading;

static slip_status bad(const reading *r, const char *name, const char *problem)
{
    return slip_hdf5_refuse(r->source.path, name, problem);
}

/* ---- attributes of the root ---- */

static slip_status read_version(const reading *r, hid_t root, int32_t *out)
{
    int32_t version = 0;
    hid_t attribute = H5Aopen(root, "version", H5P_DEFAULT);
    if (attribute < 0)
        return bad(r, "", "attribute version is missing");
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool fine = H5Tget_class(type) == H5T_INTEGER && H5Sget_simple_extent_type(space) == H5S_SCALAR &&
                H5Aread(attribute, H5T_NATIVE_INT32, &version) >= 0;
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    if (!fine)
        return bad(r, "", "attribute version is not one integer");
    if (version < 1 || version > SLIP_CHECKPOINT_VERSION)
        return slip_fail(SLIP_ERR_INPUT, "%s: version %d of the format; this program reads versions 1 to %d", r->source.path, version,
                         SLIP_CHECKPOINT_VERSION);
    *out = version;
    return SLIP_OK;
}

static slip_status read_root(const reading *r, hid_t root, slip_checkpoint *out)
{
    char *format;
    slip_status status = slip_hdf5_read_string(&r->source, root, "", "format", SLIP_CHECKPOINT_FORMAT_SIZE, &format);
    if (status != SLIP_OK)
        return status;
    if (strcmp(format, SLIP_CHECKPOINT_FORMAT) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: format is \"%s\", not \"%s\"", r->source.path, format, SLIP_CHECKPOINT_FORMAT);
    free(format);
    if (status == SLIP_OK)
        status = read_version(r, root, &out->version);
    if (status == SLIP_OK)
        status = slip_hdf5_read_string(&r->source, root, "", "config", SLIP_CHECKPOINT_CONFIG_MAX, &out->config);
    if (status == SLIP_OK && H5Aexists(root, "draft_config") > 0)
        status = slip_hdf5_read_string(&r->source, root, "", "draft_config", SLIP_CHECKPOINT_CONFIG_MAX, &out->draft_config);
    if (status == SLIP_OK && out->version > 1)
        status = slip_hdf5_read_string(&r->source, root, "", "settings", SLIP_CHECKPOINT_CONFIG_MAX, &out->settings);
    return status;
}

/* ---- the tree ---- */

static slip_status append(reading *r, const slip_dataset *dataset)
{
    if (r->count == SLIP_CHECKPOINT_DATASETS_MAX)
        return bad(r, dataset->name, "one dataset too many");
    if (r->count == r->capacity) {
        int32_t capacity = r->capacity * 2 + 64;
        slip_dataset *grown = realloc(r->datasets, (size_t)capacity * sizeof *grown);
        if (grown == NULL)
            return slip_fail(SLIP_ERR_FAILED, "%s: no memory for %d datasets", r->source.path, capacity);
        r->datasets = grown;
        r->capacity = capacity;
    }
    r->datasets[r->count++] = *dataset;
    return SLIP_OK;
}

/* The two that are no weights; NULL for all others. */
static slip_dataset *plain_place(reading *r, const char *name)
{
    return strcmp(name, "tokenizer") == 0 ? &r->tokenizer : strcmp(name, "checksums") == 0 ? &r->checksums : NULL;
}

static slip_status visit_dataset(reading *r, hid_t dataset, const char *name)
{
    slip_dataset found, *plain = plain_place(r, name);
    hid_t type = plain == NULL ? -1 : plain == &r->checksums ? H5T_STD_U32LE : H5T_STD_U8LE;
    slip_status status = slip_hdf5_read_dataset(&r->source, dataset, name, type, &found);
    if (status != SLIP_OK || plain == NULL)
        return status == SLIP_OK ? append(r, &found) : status;
    if (found.dims != 1 || found.bytes > SLIP_CHECKPOINT_TOKENIZER_MAX)
        return bad(r, name, "it is not one row of at most 128 MiB");
    *plain = found;
    return SLIP_OK;
}

typedef struct {
    reading *reading;
    const char *prefix; /* "" or "target/layers/" */
    int depth;
} branch;

static herr_t visit_link(hid_t group, const char *link, const H5L_info_t *info, void *data);

static slip_status visit_group(reading *r, hid_t group, const char *name, int depth)
{
    char prefix[SLIP_WEIGHT_NAME + 1];
    snprintf(prefix, sizeof prefix, "%s%s", name, name[0] != '\0' ? "/" : "");
    branch below = {r, prefix, depth};
    H5G_info_t info;
    if (depth > DEPTH_MAX)
        return bad(r, name, "groups nested too deeply");
    if (H5Gget_info(group, &info) < 0 || info.storage_type != H5G_STORAGE_TYPE_COMPACT)
        return bad(r, name, "its links are not kept in its header, as slipstream convert keeps them");
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_link, &below) < 0 && r->status == SLIP_OK)
        return bad(r, name, "the group cannot be read");
    return r->status;
}

static slip_status visit_object(reading *r, hid_t object, const char *name, int depth)
{
    switch (H5Iget_type(object)) {
    case H5I_DATASET: return visit_dataset(r, object, name);
    case H5I_GROUP: return visit_group(r, object, name, depth + 1);
    default: return bad(r, name, "neither a group nor a dataset");
    }
}

static bool plain_name(const char *name)
{
    return name[0] != '\0' && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static herr_t visit_link(hid_t group, const char *link, const H5L_info_t *info, void *data)
{
    branch *at = data;
    reading *r = at->reading;
    char name[SLIP_WEIGHT_NAME];
    hid_t object;
    if (!plain_name(link) || strlen(at->prefix) + strlen(link) > NAME_MAX_BYTES)
        r->status = slip_fail(SLIP_ERR_INPUT, "%s: a name in group /%s is too long or has odd characters", r->source.path, at->prefix);
    else if (snprintf(name, sizeof name, "%s%s", at->prefix, link) < 0 || info->type != H5L_TYPE_HARD)
        r->status = bad(r, name, "a soft, external or user-defined link");
    else if (++r->objects > OBJECTS_MAX)
        r->status = bad(r, name, "one object too many");
    else if ((object = H5Oopen(group, link, H5P_DEFAULT)) < 0)
        r->status = bad(r, name, "cannot be opened");
    else {
        r->status = visit_object(r, object, name, at->depth);
        H5Oclose(object);
    }
    return r->status == SLIP_OK ? 0 : -1;
}

/* ---- the whole ---- */

static int by_name(const void *left, const void *right)
{
    return strcmp(((const slip_dataset *)left)->name, ((const slip_dataset *)right)->name);
}

static int by_offset(const void *left, const void *right)
{
    int64_t a = ((const slip_dataset *)left)->offset, b = ((const slip_dataset *)right)->offset;
    return (a > b) - (a < b);
}

/* No byte of the file belongs to two datasets. Leaves them sorted by name. */
static slip_status check_overlaps(reading *r)
{
    slip_status status = SLIP_OK;
    if (r->count == 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: holds no dataset", r->source.path);
    qsort(r->datasets, (size_t)r->count, sizeof *r->datasets, by_offset);
    for (int32_t i = 1; i < r->count && status == SLIP_OK; i++)
        if (r->datasets[i].offset - r->datasets[i - 1].offset < r->datasets[i - 1].bytes)
            status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: overlaps /%s at byte %lld", r->source.path, r->datasets[i].name,
                               r->datasets[i - 1].name, (long long)r->datasets[i].offset);
    qsort(r->datasets, (size_t)r->count, sizeof *r->datasets, by_name);
    return status;
}

/* The bytes of a plain dataset, with a NUL behind them; *bytes stays NULL where there is none. */
static slip_status read_plain(const reading *r, int fd, const slip_dataset *dataset, void **bytes)
{
    if (dataset->bytes == 0)
        return SLIP_OK;
    char *made = malloc((size_t)dataset->bytes + 1);
    if (made == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for /%s", r->source.path, dataset->name);
    made[dataset->bytes] = '\0';
    *bytes = made;
    return slip_file_read_at(fd, r->source.path, made, dataset->bytes, dataset->offset);
}

static slip_status read_plains(const reading *r, int fd, slip_checkpoint *out)
{
    void *tokenizer = NULL, *checksums = NULL;
    slip_status status = read_plain(r, fd, &r->tokenizer, &tokenizer);
    out->tokenizer = tokenizer;
    out->tokenizer_size = (size_t)r->tokenizer.bytes;
    if (status == SLIP_OK)
        status = read_plain(r, fd, &r->checksums, &checksums);
    out->checksums = checksums;
    out->checksum_count = r->checksums.bytes / (int64_t)sizeof *out->checksums;
    if (status == SLIP_OK && checksums == NULL && out->version > 1)
        status = bad(r, "checksums", "it is missing");
    return status;
}

static slip_status read_tree(reading *r, slip_checkpoint *out)
{
    slip_hdf5_prepare();
    hid_t file = H5Fopen(r->source.path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0 && slip_hdf5_errno() != 0)
        return bad(r, "", "");
    if (file < 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: HDF5 cannot open it: torn, or not written by slipstream convert", r->source.path);
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    slip_status status = root < 0 ? bad(r, "", "the root group cannot be opened") : read_root(r, root, out);
    if (status == SLIP_OK)
        status = visit_group(r, root, "", 0);
    if (root >= 0)
        H5Gclose(root);
    H5Fclose(file);
    return status;
}

slip_status slip_checkpoint_open(const char *path, slip_checkpoint *checkpoint)
{
    reading r = {.source = {path, 0}};
    slip_checkpoint out = {0};
    int fd;
    slip_status status = slip_file_open(path, &fd, &r.source.file_size);
    if (status != SLIP_OK)
        return status;
    status = slip_superblock_check(fd, path, r.source.file_size);
    if (status == SLIP_OK)
        status = read_tree(&r, &out);
    if (status == SLIP_OK)
        status = check_overlaps(&r);
    if (status == SLIP_OK)
        status = read_plains(&r, fd, &out);
    close(fd);
    out.datasets = r.datasets;
    out.dataset_count = r.count;
    out.file_size = r.source.file_size;
    if (status == SLIP_OK)
        status = slip_checksum_settle(&out, path);
    if (status == SLIP_OK)
        *checkpoint = out;
    else
        slip_checkpoint_free(&out);
    return status;
}
