/* A two-dimensional dataset of floats, for the tools of this folder. */
#ifndef SLIP_TESTS_GOLDEN_MATRIX_H
#define SLIP_TESTS_GOLDEN_MATRIX_H

#include <hdf5.h>
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

#endif
