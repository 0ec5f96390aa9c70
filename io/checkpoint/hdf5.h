/* What the reader and the writer of checkpoints agree on below the contract of io/checkpoint/checkpoint.h. */
#ifndef SLIP_IO_CHECKPOINT_HDF5_H
#define SLIP_IO_CHECKPOINT_HDF5_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdlib.h>

#include "io/checkpoint/checkpoint.h"

enum {
    /* A config is an attribute, kept in the object header, whose messages end at 64 KiB. */
    SLIP_CHECKPOINT_CONFIG_MAX = 60000,
    SLIP_CHECKPOINT_TOKENIZER_MAX = 128 << 20,
    SLIP_CHECKPOINT_DTYPE_SIZE = 8, /* of the attribute `dtype`, NUL-padded */
    SLIP_CHECKPOINT_FORMAT_SIZE = 16,
};

#define SLIP_CHECKPOINT_FORMAT "slipstream"
#define SLIP_CHECKPOINT_PART_FORMAT "slipstream-part"   /* a layer's file */
#define SLIP_CHECKPOINT_PACKED_FORMAT "slipstream-pack" /* a shard's (io/checkpoint/packed.h) */

/* The HDF5 type of a dataset's elements: IEEE float, or the bits as unsigned integers. Not to be closed. */
static inline hid_t slip_hdf5_type(slip_dtype dtype)
{
    return dtype == SLIP_F32 ? H5T_IEEE_F32LE : dtype == SLIP_BF16 ? H5T_STD_U16LE : H5T_STD_U8LE;
}

/* Before any other call of HDF5. It prints its error stack by default; our one sentence replaces it. It
 * tidies up at exit, and crashes there over a file that a full disk kept it from closing; we close what we
 * open. Locks are refused by some cluster file systems and protect nothing here: a checkpoint is renamed into
 * place when it is whole. */
static inline void slip_hdf5_prepare(void)
{
    H5dont_atexit();
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* The system call's error behind HDF5's last failure, 0: there was none, and the file is to blame. To be asked before any other call. */
int slip_hdf5_errno(void);

/* Refuse what HDF5 found or could not read. */
slip_status slip_hdf5_refuse(const char *path, const char *name, const char *problem);

/* The file that is being read, for messages and bounds. */
typedef struct {
    const char *path;
    int64_t file_size;
} slip_hdf5_source;

/* A scalar attribute that is a string of fixed size, 1..limit bytes; *text is the caller's. */
slip_status slip_hdf5_read_string(const slip_hdf5_source *source, hid_t object, const char *owner, const char *name, size_t limit,
                                  char **text);

/* What a dataset is and where its bytes are: contiguous, unfiltered, of fixed size, inside of the file, or it
 * is refused. `plain` negative: it has an attribute `dtype`, and its elements are stored accordingly; else its elements
 * are of that HDF5 type. */
slip_status slip_hdf5_read_dataset(const slip_hdf5_source *source, hid_t dataset, const char *name, hid_t plain, slip_dataset *out);

#endif
