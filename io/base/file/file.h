/* Whole files and exact ranges of files, with errors that name the file and the cause. */
#ifndef SLIP_IO_BASE_FILE_FILE_H
#define SLIP_IO_BASE_FILE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/base/status.h"

/* Read a regular file of at most `limit` bytes. The caller frees *text, which has a NUL after its *size
 * bytes. A file that does not exist is SLIP_ERR_INPUT. */
slip_status slip_file_read(const char *path, size_t limit, char **text, size_t *size);

/* Whose fault is it that a file cannot be made or opened: SLIP_ERR_INPUT for a wrong path, SLIP_ERR_FAILED for a full disk and the like. */
slip_status slip_file_blame(int error);

/* SLIP_ERR_INPUT, saying what it is, for what is not a regular file: opening a FIFO would wait for its other end. */
slip_status slip_file_check_regular(const char *path);

/* Can a file be made under this name? */
slip_status slip_file_check_folder(const char *path);

/* Is there anything of that name? A symbolic link to nothing counts: what it should lead to is missing, and opening it says so. */
bool slip_file_is_there(const char *path);

/* Do both names lead to one regular file, or would, once it is made? By inode where files are there: links lead to it, too. */
bool slip_file_is_same(const char *a, const char *b);

/* What stands between a folder and a name in it: nothing behind a slash, as that of "/". */
const char *slip_file_slash(const char *folder);

/* Open a regular file for reading. The caller closes *fd. The pointer that Git LFS leaves in a file's place is refused as such. */
slip_status slip_file_open(const char *path, int *fd, int64_t *size);

/* Read or write exactly `bytes` bytes at `offset`. `path` is for the message. */
slip_status slip_file_read_at(int fd, const char *path, void *out, int64_t bytes, int64_t offset);
slip_status slip_file_write_at(int fd, const char *path, const void *data, int64_t bytes, int64_t offset);

/* Read exactly as many bytes at `offset` as these places hold, one behind the other; what they say is used up. */
slip_status slip_file_read_places(int fd, const char *path, struct iovec *places, int32_t count, int64_t offset);

/* These bytes will be read soon: a hint, which nobody need take. */
void slip_file_ask_ahead(int fd, const char *path, int64_t bytes, int64_t offset);

#endif
