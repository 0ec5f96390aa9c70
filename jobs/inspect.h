/* slipstream inspect: what a checkpoint holds, for a reader. */
#ifndef SLIP_JOBS_INSPECT_H
#define SLIP_JOBS_INSPECT_H

#include <jansson.h>
#include <stdbool.h>

#include "io/base/status.h"

/* Check a checkpoint as loading would, and print the model, its parameters and bytes a type, the drafter, the
 * tokenizer and every dataset to standard output; with `json` as one object. */
slip_status slip_inspect_run(const char *path, bool json, int argc, char **argv);

/* Add what --json prints of a checkpoint to `object`. */
slip_status slip_inspect_add(const char *path, json_t *object);

#endif
