/* What the reader and the writer of checkpoints agree on below the contract of io/checkpoint.h. */
#ifndef SLIP_IO_CHECKPOINT_HDF5_H
#define SLIP_IO_CHECKPOINT_HDF5_H

#include <hdf5.h>
#include <stdlib.h>

#include "io/checkpoint.h"

enum {
    /* A config is an attribute, kept in the object header, whose messages end at 64 KiB. */
    SLIP_CHECKPOINT_CONFIG_MAX = 60000,
    SLIP_CHECKPOINT_TOKENIZER_MAX = 128 << 20,
    SLIP_CHECKPOINT_DTYPE_SIZE = 8, /* of the attribute `dtype`, NUL-padded */
    SLIP_CHECKPOINT_FORMAT_SIZE = 16,
};

#define SLIP_CHECKPOINT_FORMAT "slipstream"

/* The HDF5 type of a dataset's elements: IEEE float, or the bits as unsigned integers. Not to be closed. */
static inline hid_t slip_hdf5_type(slip_dtype dtype)
{
    return dtype == SLIP_F32 ? H5T_IEEE_F32LE : dtype == SLIP_BF16 ? H5T_STD_U16LE : H5T_STD_U8LE;
}

static inline int64_t slip_hdf5_item_bytes(slip_dtype dtype)
{
    return dtype == SLIP_F32 ? 4 : dtype == SLIP_BF16 ? 2 : 1;
}

/* Before any other call of HDF5. It prints its error stack by default; our one sentence replaces it. It tidies up at exit,
 * and crashes there over a file that a full disk kept it from closing; we close what we open. Locks are refused by some
 * cluster file systems and protect nothing here: a checkpoint is renamed into place when it is whole. */
static inline void slip_hdf5_prepare(void)
{
    H5dont_atexit();
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

#endif
