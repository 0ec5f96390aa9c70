/* What slipstream inspect tells of a checkpoint, for convert. */
#ifndef SLIP_JOBS_INSPECT_INSPECT_H
#define SLIP_JOBS_INSPECT_INSPECT_H

#include <jansson.h>

#include "io/base/status.h"

/* Add what --json prints of a checkpoint to `object`. */
slip_status slip_inspect_add(const char *path, json_t *object);

#endif
