/* What inspect counts, and its form as JSON. Private to jobs/inspect*.c. */
#ifndef SLIP_JOBS_INSPECT_TOTALS_H
#define SLIP_JOBS_INSPECT_TOTALS_H

#include <jansson.h>

#include "io/checkpoint/checkpoint.h"

typedef struct {
    int64_t parameters;
    int64_t codes[SLIP_DTYPES], scales[SLIP_DTYPES]; /* bytes of weights of a type, and of their scales */
} slip_inspect_totals;

/* Add the members to `object`. */
slip_status slip_inspect_json(const char *path, const slip_checkpoint *checkpoint, const slip_model *model,
                              const slip_inspect_totals *target, const slip_inspect_totals *draft, json_t *object);

#endif
