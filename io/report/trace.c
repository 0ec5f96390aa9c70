#include "io/report/trace.h"

#include <hdf5.h>
#include <stdlib.h>

#include "io/checkpoint/hdf5.h"
#include "io/report/output.h"

enum { COLUMNS = 5 };
static const char *const column_names[COLUMNS] = {"step", "sequence", "position", "drafted", "accepted"};

struct slip_trace {
    const char *path;
    int64_t *column[COLUMNS]; /* [SLIP_TRACE_BLOCKS] */
    int64_t count, left_out;
};

slip_status slip_trace_create(const char *path, slip_trace **out)
{
    slip_trace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    trace->path = path;
    for (int c = 0; c < COLUMNS; c++) {
        trace->column[c] = malloc(SLIP_TRACE_BLOCKS * sizeof(int64_t));
        if (!trace->column[c]) {
            slip_trace_free(trace);
            return slip_fail(SLIP_ERR_FAILED, "out of memory for a trace");
        }
    }
    *out = trace;
    return SLIP_OK;
}

void slip_trace_free(slip_trace *trace)
{
    for (int c = 0; c < COLUMNS; c++)
        free(trace->column[c]);
    free(trace);
}

void slip_trace_block(slip_trace *trace, uint64_t step, int32_t sequence, int64_t position, int32_t drafted, int32_t accepted)
{
    if (trace->count == SLIP_TRACE_BLOCKS) {
        trace->left_out++;
        return;
    }
    const int64_t row[COLUMNS] = {(int64_t)step, sequence, position, drafted, accepted};
    for (int c = 0; c < COLUMNS; c++)
        trace->column[c][trace->count] = row[c];
    trace->count++;
}

static herr_t write_column(const char *path, hid_t group, const char *name, const int64_t *values, int64_t count)
{
    hsize_t size = (hsize_t)count;
    hid_t space = H5Screate_simple(1, &size, NULL);
    hid_t set = H5Dcreate2(group, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    herr_t status = set < 0 ? -1 : count == 0 ? 0 : H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    if (status < 0)
        slip_output_failed(path); /* the next call would forget why */
    if (set >= 0 && H5Dclose(set) < 0)
        status = -1;
    H5Sclose(space);
    return status;
}

bool slip_trace_is(const char *path)
{
    slip_hdf5_prepare();
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    bool is = file >= 0 && H5Lexists(file, "blocks", H5P_DEFAULT) > 0;
    if (file >= 0)
        H5Fclose(file);
    return is;
}

static herr_t write_left_out(hid_t group, int64_t left_out)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(group, "left_out", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t status = attribute < 0 ? -1 : H5Awrite(attribute, H5T_NATIVE_INT64, &left_out);
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Sclose(space);
    return status;
}

slip_status slip_trace_write(const slip_trace *trace)
{
    slip_hdf5_prepare();
    hid_t file = H5Fcreate(trace->path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (file < 0)
        return slip_output_failed(trace->path);
    hid_t group = H5Gcreate2(file, "blocks", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    herr_t status = group < 0 ? -1 : write_left_out(group, trace->left_out);
    for (int c = 0; c < COLUMNS && status >= 0; c++)
        status = write_column(trace->path, group, column_names[c], trace->column[c], trace->count);
    slip_status written = status < 0 ? slip_output_failed(trace->path) : SLIP_OK;
    if (group >= 0)
        H5Gclose(group);
    return H5Fclose(file) < 0 ? slip_output_failed(trace->path) : written;
}
