/* The bytes of an open file, one after the other, unpacked where gzip packed them. What other programs packed, and text
 * in UTF-16, is refused by name: nobody's lines look like that.
 */
#ifndef SLIP_IO_BASE_FILE_UNPACK_H
#define SLIP_IO_BASE_FILE_UNPACK_H

#include <stdbool.h>
#include <stddef.h>

#include "io/base/status.h"

typedef struct slip_unpack slip_unpack;

/* Read `file` from its first byte on; the unpacker closes it in the end, or now if it fails. `path` is for messages and
 * must outlive *unpack. */
slip_status slip_unpack_open(int file, const char *path, slip_unpack **unpack);

/* Was it packed? */
bool slip_unpack_packed(const slip_unpack *unpack);

/* Up to `room` bytes; *size is 0 at the end and only there. A file that ends inside of a gzip stream, or that goes on
 * behind the last one, is SLIP_ERR_INPUT. */
slip_status slip_unpack_read(slip_unpack *unpack, void *out, size_t room, size_t *size);

/* Start over. The file must be seekable. */
slip_status slip_unpack_rewind(slip_unpack *unpack);

void slip_unpack_close(slip_unpack *unpack);

/* SLIP_ERR_INPUT where a file begins like one that holds no text, in UTF-8 or packed by gzip: an archive, a checkpoint, a table, UTF-16. */
slip_status slip_unpack_refuse_foreign(const char *path, const void *bytes, size_t size);

#endif
