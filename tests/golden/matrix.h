/* A two-dimensional dataset of floats, and how far two rows are apart, for the tools of this folder. */
#ifndef SLIP_TESTS_GOLDEN_MATRIX_H
#define SLIP_TESTS_GOLDEN_MATRIX_H

#include <hdf5.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct {
    hsize_t rows, columns;
    float *values; /* [rows, columns]; the caller frees */
} matrix;

/* False when it is not there, not of two dimensions or cannot be read; values may be set all the same. */
static inline bool read_matrix(hid_t file, const char *name, matrix *m)
{
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), space = set < 0 ? -1 : H5Dget_space(set);
    hsize_t size[2];
    bool ok = space >= 0 && H5Sget_simple_extent_ndims(space) == 2 && H5Sget_simple_extent_dims(space, size, NULL) == 2;
    if (ok) {
        *m = (matrix){size[0], size[1], malloc(size[0] * size[1] * sizeof(float) + 1)};
        ok = m->values && H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, m->values) >= 0;
    }
    if (space >= 0)
        H5Sclose(space);
    if (set >= 0)
        H5Dclose(set);
    return ok;
}

/* The root of the sum of squares of `count` values. What is not a number is infinitely wrong. */
static inline double relative_error(const float *have, const float *want, hsize_t count)
{
    double difference = 0, size = 0;
    for (hsize_t i = 0; i < count; i++) {
        difference += ((double)have[i] - want[i]) * ((double)have[i] - want[i]);
        size += (double)want[i] * want[i];
    }
    double error = difference == 0 ? 0 : sqrt(difference / size);
    return isnan(error) ? INFINITY : error;
}

/* The arg max of a row; of equals the first. */
static inline hsize_t best(const float *logits, hsize_t count)
{
    hsize_t most = 0;
    for (hsize_t i = 1; i < count; i++)
        if (logits[i] > logits[most])
            most = i;
    return most;
}

#endif
