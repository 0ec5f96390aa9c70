#include "io/checkpoint/checksum.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/hash/crc32c.h"
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
    if (checkpoint->checksum_count != blocks + slip_checksum_blocks(tokenizer) + 1) {
        /* Where a dataset is missing, or one too many, the config tells which; the count cannot. */
        slip_model model;
        if (checkpoint->config != NULL && slip_checkpoint_model(checkpoint, path, &model) != SLIP_OK)
            return SLIP_ERR_INPUT;
        return slip_fail(SLIP_ERR_INPUT, "%s: /checksums: holds %lld, and there are %lld blocks and one of their own%s", path,
                         (long long)checkpoint->checksum_count, (long long)(blocks + slip_checksum_blocks(tokenizer)),
                         tokenizer == 0 ? ", without a /tokenizer" : "");
    }
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

int64_t slip_checksum_find_damage_in(const slip_checkpoint *checkpoint, const slip_dataset *dataset, int64_t first,
                                     const struct iovec *places, int32_t count)
{
    if (checkpoint->checksums == NULL)
        return -1;
    const uint32_t *expected = checkpoint->checksums + dataset->first_block + first / SLIP_CHECKSUM_BLOCK;
    int64_t left = SLIP_CHECKSUM_BLOCK;
    uint32_t crc = 0;
    for (int32_t i = 0; i < count; i++)
        for (int64_t done = 0, bytes = (int64_t)places[i].iov_len; done < bytes;) {
            int64_t now = least(bytes - done, left);
            crc = slip_crc32c_more(crc, (const char *)places[i].iov_base + done, (size_t)now);
            done += now;
            left -= now;
            if (left > 0 && (done < bytes || i + 1 < count))
                continue;
            if (crc != *expected++)
                return first;
            first += SLIP_CHECKSUM_BLOCK;
            left = SLIP_CHECKSUM_BLOCK;
            crc = 0;
        }
    return -1;
}

int64_t slip_checksum_find_damage(const slip_checkpoint *checkpoint, const slip_dataset *dataset, int64_t first, int64_t bytes,
                                  const unsigned char *data)
{
    struct iovec place = {(unsigned char *)data, (size_t)bytes};
    return slip_checksum_find_damage_in(checkpoint, dataset, first, &place, 1);
}

slip_status slip_checksum_damaged(const char *path, const slip_dataset *dataset, int64_t first)
{
    int64_t bytes = least(dataset->bytes - first, SLIP_CHECKSUM_BLOCK);
    return slip_fail(SLIP_ERR_INPUT, "%s: /%s: damaged: its bytes %lld to %lld, from byte %lld of the file on, do not have their checksum",
                     path, dataset->name, (long long)first, (long long)(first + bytes - 1), (long long)(dataset->offset + first));
}

slip_status slip_checksum_read(const slip_checkpoint *checkpoint, const slip_checkpoint_files *files, const slip_dataset *dataset,
                               void *out)
{
    const char *path = files->paths[dataset->file];
    slip_status status = SLIP_OK;
    unsigned char *to = out;
    for (int64_t done = 0; done < dataset->bytes && status == SLIP_OK; done += PIECE) {
        int64_t now = least(dataset->bytes - done, PIECE);
        status = slip_file_read_at(files->files[dataset->file], path, to + done, now, dataset->offset + done);
        int64_t bad = status == SLIP_OK ? slip_checksum_find_damage(checkpoint, dataset, done, now, to + done) : -1;
        if (bad >= 0)
            status = slip_checksum_damaged(path, dataset, bad);
    }
    return status;
}
