#include "io/checkpoint/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/checkpoint/checksum.h"
#include "io/checkpoint/hdf5.h"
#include "io/base/file/file.h"
#include "io/checkpoint/parts.h"
#include "io/checkpoint/write/sums.h"

/* HDF5 lays out the file and keeps its metadata; the tensors' bytes go past it by pwrite at the offsets it
 * reserves, so that a full disk is reported with its cause, and a dataset costs no copy. */

/* Small datasets stay packed: the demo's file must not bloat. */
enum { ALIGN_FROM = 64 << 10, ALIGN_TO = 4096 };

struct slip_checkpoint_writer {
    char *path;
    char *partial; /* PATH.partial */
    hid_t file;    /* negative once closed */
    int fd;        /* the same file, for the bytes */
    slip_sums sums;
};

static slip_status failed(const slip_checkpoint_writer *writer, const char *what, const char *name)
{
    return slip_fail(SLIP_ERR_FAILED, "%s: HDF5 cannot %s%s (%s)", writer->partial, what, name,
                     errno != 0 ? strerror(errno) : "no further cause given");
}

/* A fixed-size, NUL-padded string. */
static bool write_string(hid_t object, const char *name, const char *text, size_t size)
{
    bool fine = false;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), attribute = -1;
    char *padded = calloc(size, 1);
    if (type >= 0 && space >= 0 && padded != NULL && H5Tset_size(type, size) >= 0 && H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0) {
        memcpy(padded, text, strlen(text) < size ? strlen(text) : size);
        attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        fine = attribute >= 0 && H5Awrite(attribute, type, padded) >= 0;
    }
    free(padded);
    fine = (attribute < 0 || H5Aclose(attribute) >= 0) && fine;
    H5Sclose(space);
    H5Tclose(type);
    return fine;
}

static bool write_version(hid_t object, int32_t version)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, "version", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool fine = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT32, &version) >= 0;
    fine = (attribute < 0 || H5Aclose(attribute) >= 0) && fine;
    H5Sclose(space);
    return fine;
}

/* Properties of a group, the root's among them. Links stay in the group's own header, which has a checksum:
 * HDF5 1.10 crashes on damaged heaps of links, and the reader refuses them. Times would make two conversions
 * of one model differ. */
static bool set_group(hid_t creation)
{
    return H5Pset_link_phase_change(creation, UINT16_MAX, 0) >= 0 && H5Pset_obj_track_times(creation, false) >= 0;
}

static hid_t create_file(const char *path)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE), file = -1;
    if (H5Pset_alignment(access, ALIGN_FROM, ALIGN_TO) >= 0 && H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
        set_group(creation))
        file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    H5Pclose(creation);
    H5Pclose(access);
    return file;
}

/* `text` NULL: no such attribute. */
static slip_status write_text(slip_checkpoint_writer *writer, const char *name, const char *text)
{
    if (text != NULL && !write_string(writer->file, name, text, strlen(text)))
        return failed(writer, "write the attribute ", name);
    return SLIP_OK;
}

static slip_status write_format(slip_checkpoint_writer *writer, const char *format, int32_t version)
{
    if (!write_string(writer->file, "format", format, SLIP_CHECKPOINT_FORMAT_SIZE) || !write_version(writer->file, version))
        return failed(writer, "write the attribute ", "format or version");
    return SLIP_OK;
}

static slip_status write_texts(slip_checkpoint_writer *writer, const slip_checkpoint_texts *texts)
{
    slip_status status = write_format(writer, SLIP_CHECKPOINT_FORMAT, texts->index ? SLIP_CHECKPOINT_VERSION : SLIP_CHECKPOINT_ONE_FILE);
    if (status == SLIP_OK)
        status = write_text(writer, "config", texts->config);
    if (status == SLIP_OK)
        status = write_text(writer, "draft_config", texts->draft_config);
    return status == SLIP_OK ? write_text(writer, "settings", texts->settings) : status;
}

/* Make the groups above a dataset. */
static bool make_groups(hid_t file, const char *name)
{
    char path[SLIP_WEIGHT_NAME];
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
    bool fine = set_group(creation);
    snprintf(path, sizeof path, "%s", name);
    for (char *slash = strchr(path, '/'); slash != NULL && fine; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (H5Lexists(file, path, H5P_DEFAULT) <= 0) {
            hid_t group = H5Gcreate2(file, path, H5P_DEFAULT, creation, H5P_DEFAULT);
            fine = group >= 0 && H5Gclose(group) >= 0;
        }
        *slash = '/';
    }
    H5Pclose(creation);
    return fine;
}

/* Reserve room for a dataset; `dtype` NULL writes no such attribute. False with errno where it has one. */
static bool reserve(hid_t file, const char *name, hid_t type, int dims, const hsize_t *shape, const char *dtype, int64_t *offset)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(dims, shape, NULL), dataset = -1;
    haddr_t address = HADDR_UNDEF;
    H5Pset_layout(creation, H5D_CONTIGUOUS);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(creation, false);
    if (make_groups(file, name))
        dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    bool fine = dataset >= 0;
    if (fine) {
        fine = dtype == NULL || write_string(dataset, "dtype", dtype, SLIP_CHECKPOINT_DTYPE_SIZE);
        address = H5Dget_offset(dataset);
        fine = H5Dclose(dataset) >= 0 && fine && address != HADDR_UNDEF && address <= INT64_MAX;
    }
    H5Sclose(space);
    H5Pclose(creation);
    if (fine)
        *offset = (int64_t)address;
    return fine;
}

/* ---- checksums ---- */

static slip_status add_checksums(slip_checkpoint_writer *writer, const char *name, const void *data, int64_t bytes)
{
    uint32_t *checksums = slip_sums_add(&writer->sums, name, bytes);
    if (checksums == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for the checksums of /%s", writer->partial, name);
    slip_checksum_make(data, bytes, checksums);
    return SLIP_OK;
}

static slip_status write_checksums(slip_checkpoint_writer *writer)
{
    int64_t count = 0, offset;
    uint32_t *all = slip_sums_join(&writer->sums, &count);
    hsize_t shape = (hsize_t)count;
    if (all == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for its checksums", writer->partial);
    errno = 0;
    slip_status status = reserve(writer->file, "checksums", H5T_STD_U32LE, 1, &shape, NULL, &offset)
                             ? slip_file_write_at(writer->fd, writer->partial, all, (int64_t)(shape * sizeof *all), offset)
                             : failed(writer, "add ", "/checksums");
    free(all);
    return status;
}

static slip_status write_tokenizer(slip_checkpoint_writer *writer, const char *tokenizer, size_t size)
{
    hsize_t shape = size;
    int64_t offset;
    errno = 0;
    if (!reserve(writer->file, "tokenizer", H5T_STD_U8LE, 1, &shape, NULL, &offset))
        return failed(writer, "add ", "/tokenizer");
    slip_status status = add_checksums(writer, "tokenizer", tokenizer, (int64_t)size);
    return status == SLIP_OK ? slip_file_write_at(writer->fd, writer->partial, tokenizer, (int64_t)size, offset) : status;
}

static slip_status check_text(const char *path, const char *name, const char *text)
{
    size_t size = text != NULL ? strlen(text) : 1;
    if (size == 0 || size > SLIP_CHECKPOINT_CONFIG_MAX)
        return slip_fail(SLIP_ERR_INPUT, "%s: a %s of %zu bytes; it must have 1 to %d", path, name, size, SLIP_CHECKPOINT_CONFIG_MAX);
    return SLIP_OK;
}

static slip_status check_sizes(const char *path, const slip_checkpoint_texts *texts)
{
    slip_status status = check_text(path, "config", texts->config);
    if (status == SLIP_OK)
        status = check_text(path, "draft_config", texts->draft_config);
    if (status == SLIP_OK)
        status = check_text(path, "settings", texts->settings);
    if (status != SLIP_OK)
        return status;
    size_t tokenizer_size = texts->tokenizer_size;
    const char *tokenizer = texts->tokenizer;
    if (tokenizer != NULL && (tokenizer_size == 0 || tokenizer_size > SLIP_CHECKPOINT_TOKENIZER_MAX))
        return slip_fail(SLIP_ERR_INPUT, "%s: a tokenizer of %zu bytes; it must have 1 to %d", path, tokenizer_size,
                         SLIP_CHECKPOINT_TOKENIZER_MAX);
    if (access(path, F_OK) == 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: exists already; remove it or choose another name", path);
    return SLIP_OK;
}

/* A rank that outlived its job may still be writing to this name: its lock shows, where the file system has locks, or that the name is no
 * longer this file's. */
static bool is_ours(const slip_checkpoint_writer *writer)
{
    struct stat named, opened;
    bool locked = flock(writer->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    return locked && fstat(writer->fd, &opened) == 0 && stat(writer->partial, &named) == 0 && named.st_ino == opened.st_ino;
}

/* Truncates what an earlier, interrupted conversion left. */
static slip_status open_partial(slip_checkpoint_writer *writer)
{
    writer->fd = open(writer->partial, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    /* A folder that is not there or not ours is the user's to mend; a full disk is not. */
    if (writer->fd < 0)
        return slip_fail(errno == ENOSPC || errno == EDQUOT || errno == EIO ? SLIP_ERR_FAILED : SLIP_ERR_INPUT, "%s: cannot be created: %s",
                         writer->partial, strerror(errno));
    if (!is_ours(writer)) {
        close(writer->fd);
        writer->fd = -1; /* not ours to remove */
        return slip_fail(SLIP_ERR_INPUT, "%s: another process is writing it; wait for its end, or end it", writer->partial);
    }
    if (ftruncate(writer->fd, 0) != 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be emptied: %s", writer->partial, strerror(errno));
    slip_hdf5_prepare();
    errno = 0;
    writer->file = create_file(writer->partial);
    return writer->file < 0 ? failed(writer, "create ", "it") : SLIP_OK;
}

/* A writer whose file is open and empty. */
static slip_status open_writer(const char *path, slip_checkpoint_writer **writer_out)
{
    slip_checkpoint_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to write it", path);
    writer->file = writer->fd = -1;
    writer->path = strdup(path);
    if (writer->path == NULL || asprintf(&writer->partial, "%s.partial", path) < 0) {
        free(writer->path);
        free(writer);
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to write it", path);
    }
    *writer_out = writer;
    return open_partial(writer);
}

/* Undone where it failed. */
static slip_status finish_opening(slip_status status, slip_checkpoint_writer *writer, slip_checkpoint_writer **writer_out)
{
    if (status == SLIP_OK)
        *writer_out = writer;
    else
        slip_checkpoint_writer_free(writer);
    return status;
}

slip_status slip_checkpoint_create(const char *path, const slip_checkpoint_texts *texts, slip_checkpoint_writer **writer_out)
{
    slip_checkpoint_writer *writer = NULL;
    slip_status status = check_sizes(path, texts);
    if (status == SLIP_OK)
        status = open_writer(path, &writer);
    if (status == SLIP_OK)
        status = write_texts(writer, texts);
    if (status == SLIP_OK && texts->tokenizer != NULL)
        status = write_tokenizer(writer, texts->tokenizer, texts->tokenizer_size);
    return finish_opening(status, writer, writer_out);
}

slip_status slip_checkpoint_create_part(const char *path, const char *group, const char *origin, slip_checkpoint_writer **writer_out)
{
    slip_checkpoint_writer *writer = NULL;
    slip_status status = open_writer(path, &writer);
    if (status == SLIP_OK)
        status = write_format(writer, SLIP_CHECKPOINT_PART_FORMAT, SLIP_CHECKPOINT_VERSION);
    if (status == SLIP_OK)
        status = write_text(writer, "group", group);
    if (status == SLIP_OK)
        status = write_text(writer, "origin", origin);
    return finish_opening(status, writer, writer_out);
}

slip_status slip_checkpoint_add_rounding(slip_checkpoint_writer *writer, const char *rounding)
{
    return write_text(writer, "rounding", rounding);
}

/* The part's datasets stand in the order of their names, and so do their blocks. */
slip_status slip_checkpoint_link(slip_checkpoint_writer *writer, const char *group, const slip_checkpoint *part)
{
    char object[SLIP_PART_GROUP + 1], *link = slip_part_link(writer->path, group);
    snprintf(object, sizeof object, "/%s", group);
    errno = 0;
    bool linked = link != NULL && make_groups(writer->file, group) &&
                  H5Lcreate_external(link, object, writer->file, group, H5P_DEFAULT, H5P_DEFAULT) >= 0;
    free(link);
    if (!linked)
        return failed(writer, "add the link ", object);
    for (int32_t i = 0; i < part->dataset_count; i++) {
        const slip_dataset *dataset = &part->datasets[i];
        uint32_t *checksums = slip_sums_add(&writer->sums, dataset->name, dataset->bytes);
        if (checksums == NULL)
            return slip_fail(SLIP_ERR_FAILED, "%s: no memory for the checksums of /%s", writer->partial, dataset->name);
        memcpy(checksums, part->checksums + dataset->first_block, (size_t)slip_checksum_blocks(dataset->bytes) * sizeof *checksums);
    }
    return SLIP_OK;
}

slip_status slip_checkpoint_add(slip_checkpoint_writer *writer, const slip_dataset *dataset, const void *data)
{
    hsize_t shape[SLIP_DATASET_DIMS];
    slip_dtype dtype = (slip_dtype)dataset->dtype;
    int64_t offset, bytes = slip_dtype_item_bytes(dtype);
    for (int i = 0; i < dataset->dims; i++) {
        shape[i] = (hsize_t)dataset->shape[i];
        if (dataset->shape[i] <= 0 || __builtin_mul_overflow(bytes, dataset->shape[i], &bytes))
            return slip_fail(SLIP_ERR_FAILED, "%s: /%s: shape[%d] = %lld", writer->partial, dataset->name, i, (long long)dataset->shape[i]);
    }
    errno = 0;
    if (!reserve(writer->file, dataset->name, slip_hdf5_type(dtype), dataset->dims, shape, slip_dtype_name(dtype), &offset))
        return failed(writer, "add /", dataset->name);
    slip_status status = add_checksums(writer, dataset->name, data, bytes);
    return status == SLIP_OK ? slip_file_write_at(writer->fd, writer->partial, data, bytes, offset) : status;
}

/* A rename is durable once its folder is. */
static slip_status sync_folder(const char *path)
{
    char *copy = strdup(path);
    int folder = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    slip_status status = SLIP_OK;
    if (folder < 0 || (fsync(folder) != 0 && errno != EINVAL))
        status = slip_fail(SLIP_ERR_FAILED, "%s: its folder cannot be synced: %s", path, strerror(errno));
    if (folder >= 0)
        close(folder);
    free(copy);
    return status;
}

slip_status slip_checkpoint_commit(slip_checkpoint_writer *writer)
{
    slip_status status = write_checksums(writer);
    if (status != SLIP_OK)
        return status;
    errno = 0;
    herr_t closed = H5Fclose(writer->file);
    writer->file = -1;
    if (closed < 0)
        return failed(writer, "finish ", "it");
    if (fsync(writer->fd) != 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be synced: %s", writer->partial, strerror(errno));
    if (rename(writer->partial, writer->path) != 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be renamed to %s: %s", writer->partial, writer->path, strerror(errno));
    free(writer->partial);
    writer->partial = NULL;
    return sync_folder(writer->path);
}

void slip_checkpoint_writer_free(slip_checkpoint_writer *writer)
{
    if (writer == NULL)
        return;
    if (writer->partial != NULL && writer->fd >= 0)
        unlink(writer->partial);
    if (writer->file >= 0)
        H5Fclose(writer->file);
    if (writer->fd >= 0)
        close(writer->fd);
    slip_sums_free(&writer->sums);
    free(writer->partial);
    free(writer->path);
    free(writer);
}
