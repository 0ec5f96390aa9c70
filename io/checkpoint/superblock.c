#include "io/checkpoint/superblock.h"

#include <string.h>

#include "io/base/file/file.h"

/* Byte positions in a superblock of version 2 or 3 (HDF5 File Format Specification 3.0, II.A). */
enum { VERSION = 8, OFFSET_SIZE = 9, LENGTH_SIZE = 10, FLAGS = 11, BASE = 12, END = 28, ROOT = 36, SIZE = 48 };

static uint64_t read_u64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

/* Its header is of the kind that has a checksum. */
static slip_status check_root(int fd, const char *path, int64_t file_size, uint64_t root)
{
    char header[4];
    if (root > (uint64_t)file_size - sizeof header)
        return slip_fail(SLIP_ERR_INPUT, "%s: its root group is at %llu, outside of the file", path, (unsigned long long)root);
    slip_status status = slip_file_read_at(fd, path, header, sizeof header, (int64_t)root);
    if (status == SLIP_OK && memcmp(header, "OHDR", sizeof header) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: no object header for its root group at %llu", path, (unsigned long long)root);
    return status;
}

slip_status slip_superblock_check(int fd, const char *path, int64_t file_size)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    unsigned char block[SIZE] = {0};
    if (file_size < SIZE)
        return slip_fail(SLIP_ERR_INPUT, "%s: %lld bytes are too few for a checkpoint", path, (long long)file_size);
    slip_status status = slip_file_read_at(fd, path, block, SIZE, 0);
    if (status != SLIP_OK)
        return status;
    if (memcmp(block, signature, sizeof signature) != 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: not an HDF5 file", path);
    if (block[VERSION] != 2 && block[VERSION] != 3)
        return slip_fail(SLIP_ERR_INPUT, "%s: HDF5 superblock version %d; slipstream convert writes 2 or 3", path, block[VERSION]);
    if (block[OFFSET_SIZE] != 8 || block[LENGTH_SIZE] != 8 || read_u64(block + BASE) != 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: HDF5 addresses of %d and %d bytes from %llu on; 8, 8 and 0 are expected", path,
                         block[OFFSET_SIZE], block[LENGTH_SIZE], (unsigned long long)read_u64(block + BASE));
    if (block[FLAGS] != 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: HDF5 flags %d: it was not closed properly", path, block[FLAGS]);
    if (read_u64(block + END) != (uint64_t)file_size)
        return slip_fail(SLIP_ERR_INPUT, "%s: has %lld bytes, but says that it ends at %llu: cut short or appended to", path,
                         (long long)file_size, (unsigned long long)read_u64(block + END));
    return check_root(fd, path, file_size, read_u64(block + ROOT));
}
