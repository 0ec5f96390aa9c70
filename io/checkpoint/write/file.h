/* A file that HDF5 lays out, and nothing of what it is for. False: HDF5's last failure, or errno, says why. */
#ifndef SLIP_IO_CHECKPOINT_WRITE_FILE_H
#define SLIP_IO_CHECKPOINT_WRITE_FILE_H

#include "io/checkpoint/hdf5.h"

hid_t slip_hdf5_create(const char *path); /* negative: it failed */

/* A fixed-size, NUL-padded string. */
bool slip_hdf5_write_string(hid_t object, const char *name, const char *text, size_t size);
bool slip_hdf5_write_version(hid_t object, int32_t version);

/* The groups above a dataset. */
bool slip_hdf5_make_groups(hid_t file, const char *name);

/* Reserve room for a dataset; `dtype` NULL writes no such attribute. */
bool slip_hdf5_reserve(hid_t file, const char *name, hid_t type, int dims, const hsize_t *shape, const char *dtype, int64_t *offset);

#endif
