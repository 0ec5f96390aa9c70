/* Values that are not finite: a model that holds one answers with nonsense, and a quantiser writes none.
 */
#ifndef SLIP_JOBS_CONVERT_VALUES_H
#define SLIP_JOBS_CONVERT_VALUES_H

#include <stdint.h>

#include "io/checkpoint/safetensors/safetensors.h"

/* The index of the first of `count` values that is NaN or infinite; -1: there is none. U8 holds MXFP4 codes, all of which are finite. */
int64_t slip_values_find_bad(slip_st_dtype dtype, const void *values, int64_t count);

/* The same for E8M0 scales: 255 is NaN. */
int64_t slip_values_find_bad_e8m0(const void *scales, int64_t count);

/* The same for scales of F8_E4M3, which are finite: one below 0, or so large that a code times it is more than FP16 holds, as where its
 * reciprocal was stored. */
int64_t slip_values_find_bad_scale(const float *scales, int64_t count);

/* The index of the first scale that is 0, though not all codes of its block are. `codes` [chunks * rows, columns] of E4M3; `scales` a row for
 * SLIP_F8_BLOCK rows of a chunk. */
int64_t slip_values_find_lost_block(const uint8_t *codes, int64_t chunks, int64_t rows, int64_t columns, const float *scales);

#endif
