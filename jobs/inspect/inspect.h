/* slipstream inspect: what a checkpoint holds, for a reader. */
#ifndef SLIP_JOBS_INSPECT_INSPECT_H
#define SLIP_JOBS_INSPECT_INSPECT_H

#include <jansson.h>

#include "jobs/options/options.h"

/* Check a checkpoint as loading would, and print the model, its parameters and bytes a type, the drafter, the
 * tokenizer and every dataset to standard output; with --ranks what each would own; with --json as one object. */
slip_status slip_inspect_run(const slip_options *options, int argc, char **argv);

/* Add what --json prints of a checkpoint to `object`. */
slip_status slip_inspect_add(const char *path, json_t *object);

#endif
