/* The first 48 bytes of an HDF5 file, checked before the HDF5 library sees it.
 *
 * Only what `slipstream convert` writes passes: superblock version 2 or 3 (their metadata carry checksums,
 * which older versions lack), 8-byte addresses, no user block, closed properly, and an end of file that is
 * the file's. So a file that is cut short, appended to or something else altogether gets a plain answer, and
 * HDF5's unchecked old formats, in which most of its crashes on crafted files lie, are never parsed from the
 * root.
 */
#ifndef SLIP_IO_CHECKPOINT_SUPERBLOCK_H
#define SLIP_IO_CHECKPOINT_SUPERBLOCK_H

#include <stdint.h>

#include "io/base/status.h"

slip_status slip_superblock_check(int fd, const char *path, int64_t file_size);

#endif
