/* Weights made in memory. An element is a function of (key, expert, row, column) in the whole model's coordinates: whoever
 * owns it, it is the same, so ranks can be simulated without files.
 */
#ifndef TESTS_UNIT_TINY_WEIGHT_H
#define TESTS_UNIT_TINY_WEIGHT_H

#include "kernels/cpu/matrix.h"
#include "kernels/executor.h"

/* Room for `rows` rows of `columns` of each expert, all codes zero. mxfp4 wants whole blocks of 32 columns. */
slip_weight tiny_weight_make(slip_dtype dtype, int64_t experts, int64_t rows, slip_range columns);
void tiny_weight_free(slip_weight *weight);

/* Where a row comes from. Magnitudes stay around `size`; a vector's are 1 + something (norms) when `about_one`. */
typedef struct {
    uint64_t key;
    int64_t expert, row;
    float size;
    bool about_one;
} tiny_origin;

/* Fill row `row` of expert `expert` of the weight; `columns` as given to tiny_weight_make(). */
void tiny_weight_row(slip_weight *weight, int64_t expert, int64_t row, slip_range columns, const tiny_origin *origin);

/* A whole weight of rows 0, 1, ... of experts 0, 1, ... */
slip_weight tiny_weight_random(slip_dtype dtype, int64_t experts, int64_t rows, slip_range columns, uint64_t key);

/* All of a weight into a new matrix, and into an executor on CPUs as its tensor `index`. */
slip_status tiny_weight_pack(const slip_weight *weight, slip_matrix *matrix);
slip_status tiny_weight_load(slip_executor *executor, int32_t index, const slip_weight *weight);

/* An element as a number, by the decoders of ranks/model/mxfp4.h, which kernels do not use. */
double tiny_weight_value(const slip_weight *weight, int64_t expert, int64_t row, int64_t column);

#endif
