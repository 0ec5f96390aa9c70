#include "io/report/logits.h"

#include <hdf5.h>
#include <stdlib.h>

#include "io/checkpoint/hdf5.h"
#include "io/report/output.h"

struct slip_logits {
    const char *path;
    hid_t file, set;
    hsize_t vocabulary;
};

slip_status slip_logits_create(const char *path, size_t tokens, int32_t vocabulary, slip_logits **out)
{
    hsize_t size[2] = {tokens, (hsize_t)vocabulary};
    slip_logits *logits = malloc(sizeof *logits);
    if (!logits)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    *logits = (slip_logits){.path = path, .file = -1, .set = -1, .vocabulary = size[1]};
    slip_hdf5_prepare();
    logits->file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (logits->file < 0) {
        slip_status status = slip_output_failed(path);
        slip_logits_close(logits);
        return status;
    }
    hid_t space = H5Screate_simple(2, size, NULL);
    logits->set = H5Dcreate2(logits->file, "logits", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    slip_status status = logits->set < 0 ? slip_output_failed(path) : SLIP_OK;
    H5Sclose(space);
    if (status != SLIP_OK) {
        slip_logits_close(logits);
        return status;
    }
    *out = logits;
    return SLIP_OK;
}

slip_status slip_logits_write(slip_logits *logits, size_t first, int32_t count, const float *values)
{
    hsize_t start[2] = {first, 0}, size[2] = {(hsize_t)count, logits->vocabulary};
    hid_t memory = H5Screate_simple(2, size, NULL), file = H5Dget_space(logits->set);
    H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, size, NULL);
    slip_status status = SLIP_OK;
    if (H5Dwrite(logits->set, H5T_NATIVE_FLOAT, memory, file, H5P_DEFAULT, values) < 0)
        status = slip_output_failed(logits->path);
    H5Sclose(memory);
    H5Sclose(file);
    return status;
}

slip_status slip_logits_close(slip_logits *logits)
{
    slip_status status = SLIP_OK;
    if (!logits)
        return SLIP_OK;
    if (logits->set >= 0)
        status = H5Dclose(logits->set) < 0 ? slip_output_failed(logits->path) : SLIP_OK;
    if (logits->file >= 0 && H5Fclose(logits->file) < 0)
        status = slip_output_failed(logits->path);
    free(logits);
    return status;
}
