/* Writing a checkpoint: a dataset is begun, its bytes are appended, and the file gets its name when it is whole. */
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

#include "io/base/hash/crc32c.h"
#include "io/base/file/file.h"
#include "io/base/file/leftover.h"
#include "io/checkpoint/checksum.h"
#include "io/checkpoint/packed.h"
#include "io/checkpoint/parts.h"
#include "io/checkpoint/write/file.h"
#include "io/checkpoint/write/sums.h"

/* HDF5 lays out the file and keeps its metadata; the tensors' bytes go past it by pwrite at the offsets it
 * reserves, so that a full disk is reported with its cause, and a dataset costs no copy. */

struct slip_checkpoint_writer {
    char *path;
    char *partial; /* PATH.partial */
    hid_t file;    /* negative once closed */
    int fd;        /* the same file, for the bytes */
    bool plain;    /* datasets are bytes of no type */
    slip_sums sums;
    struct { /* the dataset that is being added */
        char name[SLIP_WEIGHT_NAME];
        int64_t offset, bytes, done;
        uint32_t *checksums; /* [blocks]; the last one begun is of less than a block */
    } open;
};

static slip_status failed(const slip_checkpoint_writer *writer, const char *what, const char *name)
{
    return slip_fail(SLIP_ERR_FAILED, "%s: HDF5 cannot %s%s (%s)", writer->partial, what, name,
                     errno != 0 ? strerror(errno) : "no further cause given");
}

/* `text` NULL: no such attribute. */
static slip_status write_text(slip_checkpoint_writer *writer, const char *name, const char *text)
{
    if (text != NULL && !slip_hdf5_write_string(writer->file, name, text, strlen(text)))
        return failed(writer, "write the attribute ", name);
    return SLIP_OK;
}

static slip_status write_format(slip_checkpoint_writer *writer, const char *format, int32_t version)
{
    if (!slip_hdf5_write_string(writer->file, "format", format, SLIP_CHECKPOINT_FORMAT_SIZE) ||
        !slip_hdf5_write_version(writer->file, version))
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

/* ---- bytes ---- */

static slip_status begin(slip_checkpoint_writer *writer, const char *name, int64_t offset, int64_t bytes)
{
    writer->open.checksums = slip_sums_add(&writer->sums, name, bytes);
    if (writer->open.checksums == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for the checksums of /%s", writer->partial, name);
    snprintf(writer->open.name, sizeof writer->open.name, "%s", name);
    writer->open.offset = offset;
    writer->open.bytes = bytes;
    writer->open.done = 0;
    return SLIP_OK;
}

slip_status slip_checkpoint_append(slip_checkpoint_writer *writer, const void *data, int64_t bytes)
{
    int64_t first = writer->open.done, end = first + bytes;
    if (bytes < 0 || bytes > writer->open.bytes - first)
        return slip_fail(SLIP_ERR_FAILED, "%s: /%s: %lld bytes more than it has", writer->partial, writer->open.name,
                         (long long)(end - writer->open.bytes));
    for (int64_t at = first, next; at < end; at = next) {
        uint32_t *sum = &writer->open.checksums[at / SLIP_CHECKSUM_BLOCK];
        next = (at / SLIP_CHECKSUM_BLOCK + 1) * SLIP_CHECKSUM_BLOCK;
        next = next < end ? next : end;
        *sum = slip_crc32c_more(at % SLIP_CHECKSUM_BLOCK != 0 ? *sum : 0, (const char *)data + (at - first), (size_t)(next - at));
    }
    writer->open.done = end;
    return slip_file_write_at(writer->fd, writer->partial, data, bytes, writer->open.offset + first);
}

static slip_status check_full(const slip_checkpoint_writer *writer)
{
    if (writer->open.done == writer->open.bytes)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_FAILED, "%s: /%s: %lld bytes of %lld were added", writer->partial, writer->open.name,
                     (long long)writer->open.done, (long long)writer->open.bytes);
}

static slip_status write_checksums(slip_checkpoint_writer *writer)
{
    int64_t count = 0, offset;
    uint32_t *all = slip_sums_join(&writer->sums, &count);
    hsize_t shape = (hsize_t)count;
    if (all == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for its checksums", writer->partial);
    errno = 0;
    slip_status status = slip_hdf5_reserve(writer->file, "checksums", H5T_STD_U32LE, 1, &shape, NULL, &offset)
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
    if (!slip_hdf5_reserve(writer->file, "tokenizer", H5T_STD_U8LE, 1, &shape, NULL, &offset))
        return failed(writer, "add ", "/tokenizer");
    slip_status status = begin(writer, "tokenizer", offset, (int64_t)size);
    return status == SLIP_OK ? slip_checkpoint_append(writer, tokenizer, (int64_t)size) : status;
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
    slip_leftover_add(writer->partial);
    slip_hdf5_prepare();
    errno = 0;
    writer->file = slip_hdf5_create(writer->partial);
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

slip_status slip_checkpoint_create_packed(const char *path, const slip_packed_label *label, slip_checkpoint_writer **writer_out)
{
    slip_checkpoint_writer *writer = NULL;
    slip_status status = open_writer(path, &writer);
    if (status == SLIP_OK)
        status = write_format(writer, SLIP_CHECKPOINT_PACKED_FORMAT, SLIP_CHECKPOINT_VERSION);
#define WRITE(field, reason) \
    if (status == SLIP_OK) \
        status = write_text(writer, #field, label->field);
    SLIP_PACKED_LABEL(WRITE)
#undef WRITE
    if (status == SLIP_OK)
        writer->plain = true;
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
    bool linked = link != NULL && slip_hdf5_make_groups(writer->file, group) &&
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

slip_status slip_checkpoint_begin(slip_checkpoint_writer *writer, const slip_dataset *dataset)
{
    hsize_t shape[SLIP_DATASET_DIMS];
    slip_dtype dtype = writer->plain ? SLIP_F8E4M3 : (slip_dtype)dataset->dtype;
    int64_t offset, bytes = slip_dtype_item_bytes(dtype);
    slip_status status = check_full(writer);
    if (status != SLIP_OK)
        return status;
    for (int i = 0; i < dataset->dims; i++) {
        shape[i] = (hsize_t)dataset->shape[i];
        if (dataset->shape[i] <= 0 || __builtin_mul_overflow(bytes, dataset->shape[i], &bytes))
            return slip_fail(SLIP_ERR_FAILED, "%s: /%s: shape[%d] = %lld", writer->partial, dataset->name, i, (long long)dataset->shape[i]);
    }
    errno = 0;
    if (!slip_hdf5_reserve(writer->file, dataset->name, slip_hdf5_type(dtype), dataset->dims, shape,
                           writer->plain ? NULL : slip_dtype_name(dtype), &offset))
        return failed(writer, "add /", dataset->name);
    return begin(writer, dataset->name, offset, bytes);
}

slip_status slip_checkpoint_add(slip_checkpoint_writer *writer, const slip_dataset *dataset, const void *data)
{
    slip_status status = slip_checkpoint_begin(writer, dataset);
    return status == SLIP_OK ? slip_checkpoint_append(writer, data, writer->open.bytes) : status;
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
    slip_status status = check_full(writer);
    if (status == SLIP_OK)
        status = write_checksums(writer);
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
    slip_leftover_forget(writer->partial);
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
    if (writer->partial != NULL)
        slip_leftover_forget(writer->partial);
    free(writer->partial);
    free(writer->path);
    free(writer);
}
