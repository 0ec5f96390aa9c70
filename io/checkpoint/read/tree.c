/* The tree of groups and datasets in a file: every object of it is known, or refused by name. */
#include "io/checkpoint/read/reading.h"

#include <stdlib.h>
#include <string.h>

#include "io/checkpoint/layout.h"
#include "io/checkpoint/parts.h"

enum { DEPTH_MAX = 5, OBJECTS_MAX = 2 * SLIP_CHECKPOINT_DATASETS_MAX, NAME_MAX_BYTES = SLIP_WEIGHT_NAME - 1, LINK_MAX_BYTES = 4096 };

static slip_status bad(const slip_reading *r, const char *name, const char *problem)
{
    return slip_hdf5_refuse(r->source.path, name, problem);
}

/* ---- attributes of the root ---- */

static slip_status read_version(const slip_reading *r, hid_t root, int32_t *out)
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

/* Which words stand there: those of another file are refused. */
static slip_status check_word(const slip_reading *r, hid_t root, const char *name, const char *wanted)
{
    char *found;
    slip_status status = slip_hdf5_read_string(&r->source, root, "", name, SLIP_PART_GROUP, &found);
    if (status != SLIP_OK)
        return status;
    if (strcmp(found, wanted) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: %s is \"%s\", not \"%s\"", r->source.path, name, found, wanted);
    free(found);
    return status;
}

static slip_status read_part_root(const slip_reading *r, hid_t root, slip_checkpoint *out)
{
    slip_status status = check_word(r, root, "format", SLIP_CHECKPOINT_PART_FORMAT);
    if (status == SLIP_OK)
        status = read_version(r, root, &out->version);
    if (status == SLIP_OK)
        status = check_word(r, root, "group", r->group);
    if (status == SLIP_OK)
        status = slip_hdf5_read_string(&r->source, root, "", "origin", SLIP_CHECKPOINT_CONFIG_MAX, &out->origin);
    if (status == SLIP_OK && H5Aexists(root, "rounding") > 0)
        status = slip_hdf5_read_string(&r->source, root, "", "rounding", SLIP_CHECKPOINT_CONFIG_MAX, &out->rounding);
    return status;
}

static slip_status check_label(const slip_reading *r, hid_t root, const char *name, const char *wanted, const char *reason)
{
    char *found;
    slip_status status = slip_hdf5_read_string(&r->source, root, "", name, SLIP_PACKED_WORD, &found);
    if (status != SLIP_OK)
        return status;
    if (strcmp(found, wanted) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: %s is \"%s\", not \"%s\": %s", r->source.path, name, found, wanted, reason);
    free(found);
    return status;
}

static slip_status read_packed_root(const slip_reading *r, hid_t root, slip_checkpoint *out)
{
    slip_status status = check_word(r, root, "format", SLIP_CHECKPOINT_PACKED_FORMAT);
    if (status == SLIP_OK)
        status = read_version(r, root, &out->version);
#define CHECK(field, reason) \
    if (status == SLIP_OK) \
        status = check_label(r, root, #field, r->label->field, reason);
    SLIP_PACKED_LABEL(CHECK)
#undef CHECK
    return status;
}

static slip_status read_root(const slip_reading *r, hid_t root, slip_checkpoint *out)
{
    if (r->label != NULL)
        return read_packed_root(r, root, out);
    if (r->group != NULL)
        return read_part_root(r, root, out);
    slip_status status = check_word(r, root, "format", SLIP_CHECKPOINT_FORMAT);
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

static slip_status append(slip_reading *r, const slip_dataset *dataset)
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
    r->datasets[r->count] = *dataset;
    r->datasets[r->count++].file = r->file;
    return SLIP_OK;
}

/* Does a dataset or a group stand in, or above, the group of the layer's file? */
static bool is_of_group(const slip_reading *r, const char *name)
{
    size_t length = strlen(name), group = r->group != NULL ? strlen(r->group) : 0, shared = length < group ? length : group;
    return r->group == NULL ||
           (strncmp(name, r->group, shared) == 0 && (length == group || (length < group ? r->group : name)[shared] == '/'));
}

/* The two that are no weights; NULL for all others. */
static slip_dataset *plain_place(slip_reading *r, const char *name)
{
    return strcmp(name, "tokenizer") == 0 && r->group == NULL ? &r->tokenizer : strcmp(name, "checksums") == 0 ? &r->checksums : NULL;
}

static slip_status visit_dataset(slip_reading *r, hid_t dataset, const char *name)
{
    slip_dataset found, *plain = plain_place(r, name);
    hid_t type = plain == &r->checksums ? H5T_STD_U32LE : plain != NULL || r->label != NULL ? H5T_STD_U8LE : -1;
    slip_status status = slip_hdf5_read_dataset(&r->source, dataset, name, type, &found);
    if (status == SLIP_OK && plain == NULL && !is_of_group(r, name))
        return bad(r, name, "stands outside of its file's group");
    if (status != SLIP_OK || plain == NULL)
        return status == SLIP_OK ? append(r, &found) : status;
    if (found.dims != 1 || found.bytes > SLIP_CHECKPOINT_TOKENIZER_MAX)
        return bad(r, name, "it is not one row of at most 128 MiB");
    *plain = found;
    return SLIP_OK;
}

typedef struct {
    slip_reading *reading;
    const char *prefix; /* "" or "target/layers/" */
    int depth;
} branch;

static herr_t visit_link(hid_t group, const char *link, const H5L_info_t *info, void *data);

static slip_status visit_group(slip_reading *r, hid_t group, const char *name, int depth)
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

static slip_status visit_object(slip_reading *r, hid_t object, const char *name, int depth)
{
    switch (H5Iget_type(object)) {
    case H5I_DATASET: return visit_dataset(r, object, name);
    case H5I_GROUP: return visit_group(r, object, name, depth + 1);
    default: return bad(r, name, "neither a group nor a dataset");
    }
}

/* The link to a layer's file, of the one form that there is. */
static slip_status note_part(slip_reading *r, hid_t group, const char *link, const char *name, size_t size)
{
    char value[LINK_MAX_BYTES], object[SLIP_PART_GROUP + 1], *wanted = NULL;
    const char *file = NULL, *target = NULL;
    if (strlen(name) < SLIP_PART_GROUP)
        wanted = slip_part_link(r->source.path, name);
    snprintf(object, sizeof object, "/%.*s", SLIP_PART_GROUP - 1, name);
    if (wanted == NULL || size > sizeof value || H5Lget_val(group, link, value, sizeof value, H5P_DEFAULT) < 0 ||
        H5Lunpack_elink_val(value, size, NULL, &file, &target) < 0 || strcmp(target, object) != 0) {
        free(wanted);
        return bad(r, name, "an external link that is not to the file of a layer");
    }
    slip_status status = SLIP_OK;
    slip_checkpoint_part *grown = realloc(r->parts, (size_t)(r->part_count + 1) * sizeof *grown);
    if (grown != NULL)
        r->parts = grown;
    if (strcmp(file, wanted) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: links to %s; only %s is followed: an index and its folder keep their names",
                           r->source.path, name, file, wanted);
    else if (grown == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory for its links", r->source.path);
    free(wanted);
    if (status != SLIP_OK)
        return status;
    slip_checkpoint_part *part = &r->parts[r->part_count++];
    *part = (slip_checkpoint_part){.bytes = 0};
    snprintf(part->group, sizeof part->group, "%s", name);
    return SLIP_OK;
}

static bool plain_name(const char *name)
{
    return name[0] != '\0' && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static herr_t visit_link(hid_t group, const char *link, const H5L_info_t *info, void *data)
{
    branch *at = data;
    slip_reading *r = at->reading;
    char name[SLIP_WEIGHT_NAME];
    hid_t object;
    if (!plain_name(link) || strlen(at->prefix) + strlen(link) > NAME_MAX_BYTES)
        r->status = slip_fail(SLIP_ERR_INPUT, "%s: a name in group /%s is too long or has odd characters", r->source.path, at->prefix);
    else if (snprintf(name, sizeof name, "%s%s", at->prefix, link) > 0 && info->type == H5L_TYPE_EXTERNAL &&
             r->version > SLIP_CHECKPOINT_ONE_FILE && r->group == NULL)
        r->status = ++r->objects > OBJECTS_MAX ? bad(r, name, "one object too many") : note_part(r, group, link, name, info->u.val_size);
    else if (info->type != H5L_TYPE_HARD)
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

slip_status slip_reading_tree(slip_reading *r, slip_checkpoint *out)
{
    slip_hdf5_prepare();
    hid_t file = H5Fopen(r->source.path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0 && slip_hdf5_errno() != 0)
        return bad(r, "", "");
    if (file < 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: HDF5 cannot open it: torn, or not written by slipstream convert", r->source.path);
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    slip_status status = root < 0 ? bad(r, "", "the root group cannot be opened") : read_root(r, root, out);
    r->version = out->version;
    if (status == SLIP_OK)
        status = visit_group(r, root, "", 0);
    if (root >= 0)
        H5Gclose(root);
    H5Fclose(file);
    return status;
}
