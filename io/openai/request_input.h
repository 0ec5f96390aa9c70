/* Where request lines come from: a regular file, or standard input. Private to io/openai. */
#ifndef SLIP_IO_OPENAI_REQUEST_INPUT_H
#define SLIP_IO_OPENAI_REQUEST_INPUT_H

#include "io/base/file/lines.h"

/* Open `path` to be read more than once; "-" is standard input, which is copied to a nameless file in TMPDIR first unless it is
 * a regular file. `path` must outlive *lines. */
slip_status slip_request_input_open(const char *path, slip_lines *lines);

#endif
