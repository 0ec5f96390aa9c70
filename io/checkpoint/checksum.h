/* Checksums of a checkpoint's bytes: CRC-32C of every block of 256 KiB of every dataset, so that a rank which reads a part of one
 * checks what it reads and no more than a block around it.
 *
 * /checksums is u32 [blocks + 1]: those of the datasets in the order of their names, then the tokenizer's, then one of all that stands
 * before it, little-endian. HDF5 guards its own metadata, config and settings among them, by checksums of its own.
 */
#ifndef SLIP_IO_CHECKPOINT_CHECKSUM_H
#define SLIP_IO_CHECKPOINT_CHECKSUM_H

#include <sys/uio.h>

#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/parts.h"

enum { SLIP_CHECKSUM_BLOCK = 256 << 10 };

static inline int64_t slip_checksum_blocks(int64_t bytes)
{
    return (bytes + SLIP_CHECKSUM_BLOCK - 1) / SLIP_CHECKSUM_BLOCK;
}

/* The checksums of `bytes` bytes, a block each. */
void slip_checksum_make(const void *data, int64_t bytes, uint32_t *checksums);

/* Number the blocks of a checkpoint whose datasets are sorted, and check that there are as many as /checksums has, and that it is whole.
 * Where there are not, a dataset that the config asks for and that is missing, or the other way round, is named. `path` is for the message. */
slip_status slip_checksum_settle(slip_checkpoint *checkpoint, const char *path);

/* The first of `bytes` bytes from byte `first` of a dataset on, which begin a block and end one (or the dataset), whose block does not have its
 * checksum: a byte of the dataset; -1: all have, or there are none. For any thread. */
int64_t slip_checksum_find_damage(const slip_checkpoint *checkpoint, const slip_dataset *dataset, int64_t first, int64_t bytes,
                                  const unsigned char *data);

/* The same of bytes that lie in these places, one behind the other. */
int64_t slip_checksum_find_damage_in(const slip_checkpoint *checkpoint, const slip_dataset *dataset, int64_t first,
                                     const struct iovec *places, int32_t count);

/* SLIP_ERR_INPUT that names the file at `path`, the dataset and the bytes of the block that begins at `first`. */
slip_status slip_checksum_damaged(const char *path, const slip_dataset *dataset, int64_t first);

/* Read a whole dataset to out [dataset->bytes], and check it. */
slip_status slip_checksum_read(const slip_checkpoint *checkpoint, const slip_checkpoint_files *files, const slip_dataset *dataset,
                               void *out);

#endif
