/* What rounding experts to MXFP4 did to them: the error of each stack of experts. */
#ifndef SLIP_JOBS_CONVERT_WRITE_ROUNDING_H
#define SLIP_JOBS_CONVERT_WRITE_ROUNDING_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "io/base/status.h"
#include "ranks/model/weights.h"

typedef struct {
    char name[SLIP_WEIGHT_NAME];
    double squares, error_squares; /* sums over all values: of the source's, and of the differences */
    double largest;                /* the largest difference */
} slip_rounding_of;

typedef struct {
    slip_rounding_of *weights; /* owned */
    size_t count;
} slip_rounding;

/* Begin a weight; what follows adds to the last one. */
slip_status slip_rounding_begin(slip_rounding *rounding, const char *name);

/* Add rows: `values` [rows, columns], and what they became. */
void slip_rounding_add(slip_rounding *rounding, const float *values, int64_t rows, int64_t columns, const uint8_t *codes,
                       const uint8_t *scales);

/* sqrt(sum of (value - stored)^2 / sum of value^2) */
double slip_rounding_relative_rms(const slip_rounding_of *of);

/* As JSON, malloc'ed, and back, added to what is there. NULL where nothing was rounded. `source` is for the message. */
slip_status slip_rounding_text(const slip_rounding *rounding, char **text);
slip_status slip_rounding_parse(slip_rounding *rounding, const char *text, const char *source);

/* For --json: an array of {name, relative_rms, largest}; and as lines of text. */
json_t *slip_rounding_json(const slip_rounding *rounding);
void slip_rounding_print(const slip_rounding *rounding, FILE *stream);

void slip_rounding_clear(slip_rounding *rounding);

#endif
