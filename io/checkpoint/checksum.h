/* Checksums of a checkpoint's bytes: CRC-32C of every block of 256 KiB of every dataset, so that a rank which reads a part of one
 * checks what it reads and no more than a block around it.
 *
 * /checksums is u32 [blocks + 1]: those of the datasets in the order of their names, then the tokenizer's, then one of all that stands
 * before it, little-endian. HDF5 guards its own metadata, config and settings among them, by checksums of its own.
 */
#ifndef SLIP_IO_CHECKPOINT_CHECKSUM_H
#define SLIP_IO_CHECKPOINT_CHECKSUM_H

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
 * `path` is for the message. */
slip_status slip_checksum_settle(slip_checkpoint *checkpoint, const char *path);

/* Reads parts of datasets, checking every byte where the checkpoint has checksums. Keeps the block that it read last, since small
 * parts of one often follow each other. */
typedef struct {
    const slip_checkpoint *checkpoint; /* borrowed, as are its files */
    const slip_checkpoint_files *files;
    unsigned char *block;  /* the one at hand; NULL: none yet */
    int32_t block_of_file; /* and where it begins in which file */
    int64_t at;
} slip_checked_file;

void slip_checked_close(slip_checked_file *file);

/* Read `bytes` bytes from byte `first` of a dataset on. SLIP_ERR_INPUT names the file, the dataset and the bytes that are damaged. */
slip_status slip_checked_read(slip_checked_file *file, const slip_dataset *dataset, int64_t first, int64_t bytes, void *out);

#endif
