/* Opening a checkpoint, a layer's file of one, or a file packed for GPUs: the superblock first, then the tree, then the texts. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/checkpoint/checksum.h"
#include "io/checkpoint/parts.h"
#include "io/checkpoint/read/reading.h"
#include "io/checkpoint/superblock.h"

static int by_name(const void *left, const void *right)
{
    return strcmp(((const slip_dataset *)left)->name, ((const slip_dataset *)right)->name);
}

static int by_offset(const void *left, const void *right)
{
    const slip_dataset *a = left, *b = right;
    return a->file != b->file ? a->file - b->file : (a->offset > b->offset) - (a->offset < b->offset);
}

/* No byte of a file belongs to two datasets. Leaves them sorted by name. */
static slip_status check_overlaps(slip_reading *r)
{
    slip_status status = SLIP_OK;
    if (r->count == 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: holds no dataset", r->source.path);
    qsort(r->datasets, (size_t)r->count, sizeof *r->datasets, by_offset);
    for (int32_t i = 1; i < r->count && status == SLIP_OK; i++)
        if (r->datasets[i].file == r->datasets[i - 1].file && r->datasets[i].offset - r->datasets[i - 1].offset < r->datasets[i - 1].bytes)
            status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: overlaps /%s at byte %lld", r->source.path, r->datasets[i].name,
                               r->datasets[i - 1].name, (long long)r->datasets[i].offset);
    qsort(r->datasets, (size_t)r->count, sizeof *r->datasets, by_name);
    return status;
}

/* The bytes of a plain dataset, with a NUL behind them; *bytes stays NULL where there is none. */
static slip_status read_plain(const slip_reading *r, int fd, const slip_dataset *dataset, void **bytes)
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

/* Reads the tokenizer and the checksums of the file at hand. */
static slip_status read_plains(slip_reading *r, int fd, slip_checkpoint *out)
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
        status = slip_fail(SLIP_ERR_INPUT, "%s: /checksums: it is missing", r->source.path);
    return status;
}

/* One file: everything but the tensors. */
static slip_status read_file(slip_reading *r, const char *path, slip_checkpoint *out)
{
    int fd;
    r->source = (slip_hdf5_source){path, 0};
    r->tokenizer.bytes = r->checksums.bytes = 0;
    slip_status status = slip_file_open(path, &fd, &r->source.file_size);
    if (status != SLIP_OK)
        return status;
    status = slip_superblock_check(fd, path, r->source.file_size);
    if (status == SLIP_OK)
        status = slip_reading_tree(r, out);
    if (status == SLIP_OK)
        status = read_plains(r, fd, out);
    close(fd);
    out->file_size = r->source.file_size;
    return status;
}

/* The layers' files of an index; `sums` [parts] get the checksums that each has. */
static slip_status read_parts(slip_reading *r, const char *path, slip_checkpoint *sums)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < r->part_count && status == SLIP_OK; i++) {
        char *file = slip_part_path(path, r->parts[i].group);
        struct stat info;
        if (file == NULL)
            return slip_fail(SLIP_ERR_FAILED, "%s: no memory for the path of a layer's file", path);
        r->group = r->parts[i].group;
        r->file = i + 1;
        if (lstat(file, &info) == 0 && S_ISLNK(info.st_mode))
            status = slip_fail(SLIP_ERR_INPUT, "%s: a symbolic link; a layer's file is in its folder itself", file);
        else
            status = read_file(r, file, &sums[i]);
        r->parts[i].bytes = sums[i].file_size;
        free(file);
    }
    r->source.path = path;
    return status;
}

/* A layer's checksums are those that the index has of it: it is the file that the index was made with. */
static slip_status check_parts(const slip_reading *r, const char *path, const slip_checkpoint *whole, const slip_checkpoint *sums)
{
    for (int32_t i = 0; i < whole->dataset_count; i++) {
        const slip_dataset *dataset = &whole->datasets[i];
        const slip_checkpoint *of = dataset->file > 0 ? &sums[dataset->file - 1] : NULL;
        bool first = i == 0 || whole->datasets[i - 1].file != dataset->file;
        int64_t blocks = of != NULL ? of->checksum_count - 1 : 0;
        if (of == NULL || !first)
            continue;
        if (of->checksums == NULL || whole->checksums == NULL || blocks > whole->checksum_count - dataset->first_block ||
            memcmp(of->checksums, whole->checksums + dataset->first_block, (size_t)blocks * sizeof *of->checksums) != 0) {
            char *file = slip_part_path(path, r->parts[dataset->file - 1].group);
            slip_status status = slip_fail(SLIP_ERR_INPUT, "%s: its checksums are not those that %s has of it: it is of another model",
                                           file != NULL ? file : "a layer", path);
            free(file);
            return status;
        }
    }
    return SLIP_OK;
}

static slip_status open_whole(slip_reading *r, const char *path, slip_checkpoint *out, slip_checkpoint **sums)
{
    slip_status status = read_file(r, path, out);
    *sums = calloc((size_t)r->part_count + 1, sizeof **sums);
    if (status == SLIP_OK && *sums == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory for its files", path);
    if (status == SLIP_OK)
        status = read_parts(r, path, *sums);
    if (status == SLIP_OK)
        status = check_overlaps(r);
    out->datasets = r->datasets;
    out->dataset_count = r->count;
    out->parts = r->parts;
    out->part_count = r->part_count;
    if (status == SLIP_OK)
        status = slip_checksum_settle(out, path);
    return status == SLIP_OK ? check_parts(r, path, out, *sums) : status;
}

slip_status slip_checkpoint_open(const char *path, slip_checkpoint *checkpoint)
{
    slip_reading r = {0};
    slip_checkpoint out = {0}, *sums = NULL;
    slip_status status = open_whole(&r, path, &out, &sums);
    for (int32_t i = 0; i < r.part_count && sums != NULL; i++)
        slip_checkpoint_free(&sums[i]);
    free(sums);
    if (status == SLIP_OK)
        *checkpoint = out;
    else
        slip_checkpoint_free(&out);
    return status;
}

/* A file that stands alone: a layer's or a shard's. */
static slip_status open_alone(slip_reading *r, const char *path, slip_checkpoint *table)
{
    slip_checkpoint out = {0};
    slip_status status = read_file(r, path, &out);
    if (status == SLIP_OK)
        status = check_overlaps(r);
    out.datasets = r->datasets;
    out.dataset_count = r->count;
    if (status == SLIP_OK)
        status = slip_checksum_settle(&out, path);
    if (status == SLIP_OK)
        *table = out;
    else
        slip_checkpoint_free(&out);
    return status;
}

slip_status slip_checkpoint_open_part(const char *path, const char *group, slip_checkpoint *part)
{
    slip_reading r = {.group = group};
    return open_alone(&r, path, part);
}

slip_status slip_packed_open(const char *path, const slip_packed_label *wanted, slip_checkpoint *table)
{
    slip_reading r = {.group = SLIP_PACKED_GROUP, .label = wanted};
    return open_alone(&r, path, table);
}
