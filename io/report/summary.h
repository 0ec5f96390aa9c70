/* What --json prints: one object a command. Its first keys are the same for all (docs/json.md). */
#ifndef SLIP_IO_REPORT_SUMMARY_H
#define SLIP_IO_REPORT_SUMMARY_H

#include <jansson.h>

#include "io/base/status.h"

/* {schema, version, commit, command, argv}; NULL: out of memory. The caller owns it. */
json_t *slip_summary_begin(const char *command, int argc, char **argv);

/* Print the object, NULL when it could not be made, on standard output, and free it. */
slip_status slip_summary_print(json_t *object);

#endif
