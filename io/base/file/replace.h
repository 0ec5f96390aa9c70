/* Files that appear as a whole or not at all. */
#ifndef SLIP_IO_BASE_FILE_REPLACE_H
#define SLIP_IO_BASE_FILE_REPLACE_H

#include <stdio.h>

#include "io/base/status.h"

/* The file that `path` leads to, which need not exist, in words that every link to it shares, and `suffix` (malloc'ed): the name of what an
 * output needs beside it. */
slip_status slip_file_beside(const char *path, const char *suffix, char **beside);

/* Write PATH.partial, sync it and let it take the place of `path`, with its mode if it was there; a link stays a link. `write` need not ask
 * ferror(). If anything fails, `path` is as it was and PATH.partial is gone. */
slip_status slip_file_replace(const char *path, slip_status (*write)(void *context, FILE *file), void *context);

/* Sync the folder that holds `path`, so that a name that came or went in it survives a crash. Some file systems cannot; none needs to be
 * asked twice. */
void slip_file_sync_folder(const char *path);

#endif
