#include "io/checkpoint/checksum.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/crc32c.h"
#include "io/base/file/file.h"

enum { PIECE = 16 * SLIP_CHECKSUM_BLOCK }; /* read at once: still in a cache when it is checked */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void slip_checksum_make(const void *data, int64_t bytes, uint32_t *checksums)
{
    for (int64_t first = 0; first < bytes; first += SLIP_CHECKSUM_BLOCK)
        *checksums++ = slip_crc32c((const char *)data + first, (size_t)least(bytes - first, SLIP_CHECKSUM_BLOCK));
}

static slip_status damaged(const char *path, const char *dataset, int64_t first, int64_t bytes, int64_t offset)
{
    return slip_fail(SLIP_ERR_INPUT, "%s: /%s: damaged: its bytes %lld to %lld, from byte %lld of the file on, do not have their checksum",
                     path, dataset, (long long)first, (long long)(first + bytes - 1), (long long)(offset + first));
}

slip_status slip_checksum_settle(slip_checkpoint *checkpoint, const char *path)
{
    int64_t blocks = 0, tokenizer = (int64_t)checkpoint->tokenizer_size;
    const uint32_t *all = checkpoint->checksums;
    for (int32_t i = 0; i < checkpoint->dataset_count; i++) {
        checkpoint->datasets[i].first_block = blocks;
        blocks += slip_checksum_blocks(checkpoint->datasets[i].bytes);
    }
    if (all == NULL)
        return SLIP_OK;
    if (checkpoint->checksum_count != blocks + slip_checksum_blocks(tokenizer) + 1)
        return slip_fail(SLIP_ERR_INPUT, "%s: /checksums: holds %lld, and there are %lld blocks and one of their own", path,
                         (long long)checkpoint->checksum_count, (long long)(blocks + slip_checksum_blocks(tokenizer)));
    size_t before = (size_t)(checkpoint->checksum_count - 1);
    if (slip_crc32c(all, before * sizeof *all) != all[before])
        return slip_fail(SLIP_ERR_INPUT, "%s: /checksums: damaged: it does not have its own checksum", path);
    for (int64_t first = 0; first < tokenizer; first += SLIP_CHECKSUM_BLOCK) {
        int64_t here = least(tokenizer - first, SLIP_CHECKSUM_BLOCK);
        if (slip_crc32c(checkpoint->tokenizer + first, (size_t)here) != all[blocks + first / SLIP_CHECKSUM_BLOCK])
            return slip_fail(SLIP_ERR_INPUT, "%s: /tokenizer: damaged: its bytes %lld to %lld do not have their checksum", path,
                             (long long)first, (long long)(first + here - 1));
    }
    return SLIP_OK;
}

void slip_checked_close(slip_checked_file *file)
{
    free(file->block);
    file->block = NULL;
}

/* Whole blocks of a dataset, from `first` on, which begins one. */
static slip_status read_blocks(slip_checked_file *file, const slip_dataset *dataset, int64_t first, int64_t bytes, unsigned char *out)
{
    const uint32_t *all = file->checkpoint->checksums;
    const char *path = file->files->paths[dataset->file];
    slip_status status = slip_file_read_at(file->files->files[dataset->file], path, out, bytes, dataset->offset + first);
    for (int64_t done = 0; done < bytes && status == SLIP_OK && all != NULL; done += SLIP_CHECKSUM_BLOCK) {
        int64_t here = least(bytes - done, SLIP_CHECKSUM_BLOCK);
        if (slip_crc32c(out + done, (size_t)here) != all[dataset->first_block + (first + done) / SLIP_CHECKSUM_BLOCK])
            status = damaged(path, dataset->name, first + done, here, dataset->offset);
    }
    return status;
}

/* A part of one block: the whole of it is read, unless it is at hand. */
static slip_status read_within(slip_checked_file *file, const slip_dataset *dataset, int64_t first, int64_t bytes, unsigned char *out)
{
    int64_t begin = first / SLIP_CHECKSUM_BLOCK * SLIP_CHECKSUM_BLOCK;
    slip_status status = SLIP_OK;
    if (file->block == NULL) {
        file->block = malloc(SLIP_CHECKSUM_BLOCK);
        file->at = -1;
    }
    if (file->block == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to check it", file->files->paths[dataset->file]);
    if (file->at != dataset->offset + begin || file->block_of_file != dataset->file) {
        file->at = -1;
        status = read_blocks(file, dataset, begin, least(dataset->bytes - begin, SLIP_CHECKSUM_BLOCK), file->block);
    }
    if (status != SLIP_OK)
        return status;
    file->at = dataset->offset + begin;
    file->block_of_file = dataset->file;
    memcpy(out, file->block + (first - begin), (size_t)bytes);
    return SLIP_OK;
}

slip_status slip_checked_read(slip_checked_file *file, const slip_dataset *dataset, int64_t first, int64_t bytes, void *out)
{
    slip_status status = SLIP_OK;
    unsigned char *to = out;
    while (bytes > 0 && status == SLIP_OK) {
        int64_t within = first % SLIP_CHECKSUM_BLOCK, left = least(dataset->bytes - first, SLIP_CHECKSUM_BLOCK - within);
        int64_t now = least(bytes, left);
        if (file->checkpoint->checksums == NULL) {
            now = bytes;
            status = read_blocks(file, dataset, first, now, to);
        } else if (within == 0 && now == left) { /* as many whole blocks as there are */
            bool to_end = bytes == dataset->bytes - first;
            now = least(to_end ? bytes : bytes / SLIP_CHECKSUM_BLOCK * SLIP_CHECKSUM_BLOCK, PIECE);
            status = read_blocks(file, dataset, first, now, to);
        } else {
            status = read_within(file, dataset, first, now, to);
        }
        first += now;
        bytes -= now;
        to += now;
    }
    return status;
}
