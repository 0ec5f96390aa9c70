#include "io/report/trace_ops.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint/hdf5.h"
#include "io/report/output.h"

static const char *const buffer_names[SLIP_BUFFERS] = {
    [SLIP_BUFFER_X] = "X",
    [SLIP_BUFFER_H] = "H",
    [SLIP_BUFFER_QKV] = "QKV",
    [SLIP_BUFFER_HEADS] = "HEADS",
    [SLIP_BUFFER_PARTIAL] = "PARTIAL",
    [SLIP_BUFFER_GATE_UP] = "GATE_UP",
    [SLIP_BUFFER_ACT] = "ACT",
    [SLIP_BUFFER_ROUTE] = "ROUTE",
    [SLIP_BUFFER_TAPS] = "TAPS",
    [SLIP_BUFFER_SELECT] = "SELECT",
    [SLIP_BUFFER_LOGITS] = "LOGITS",
};
static const char *const lane_names[SLIP_TRACE_LANES] = {"steps", "draft"};

struct slip_trace_lane {
    slip_trace_ops *trace;
    const slip_program *program;
    hid_t group;  /* of the lane */
    int64_t step; /* 0 = none yet */
    int32_t op;   /* whose rows are being gathered; -1 = none */
    slip_buffer buffer;
    int64_t rows, columns;
    float *values; /* [rows, columns] */
    size_t room;   /* floats */
};

struct slip_trace_ops {
    const char *path;
    const char *(*name)(slip_op_kind kind);
    hid_t file; /* -1 when closed */
    bool failed;
    slip_trace_lane lane[SLIP_TRACE_LANES];
};

slip_status slip_trace_ops_create(const char *path, const char *(*name)(slip_op_kind kind), slip_trace_ops **out)
{
    slip_trace_ops *trace = calloc(1, sizeof *trace);
    if (!trace)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_hdf5_prepare();
    *trace = (slip_trace_ops){.path = path, .name = name, .file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)};
    bool ok = trace->file >= 0;
    for (int i = 0; i < SLIP_TRACE_LANES; i++) {
        hid_t group = ok ? H5Gcreate2(trace->file, lane_names[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) : -1;
        trace->lane[i] = (slip_trace_lane){.trace = trace, .group = group, .op = -1};
        ok = group >= 0;
    }
    if (!ok) {
        slip_status status = slip_output_failed(path);
        slip_trace_ops_free(trace);
        return status;
    }
    *out = trace;
    return SLIP_OK;
}

static bool close_all(slip_trace_ops *trace)
{
    bool ok = true;
    for (int i = 0; i < SLIP_TRACE_LANES; i++)
        if (trace->lane[i].group >= 0)
            ok = H5Gclose(trace->lane[i].group) >= 0 && ok;
    if (trace->file >= 0)
        ok = H5Fclose(trace->file) >= 0 && ok;
    for (int i = 0; i < SLIP_TRACE_LANES; i++)
        trace->lane[i].group = -1;
    trace->file = -1;
    return ok;
}

void slip_trace_ops_free(slip_trace_ops *trace)
{
    close_all(trace);
    for (int i = 0; i < SLIP_TRACE_LANES; i++)
        free(trace->lane[i].values);
    free(trace);
}

slip_trace_lane *slip_trace_ops_lane(slip_trace_ops *trace, slip_trace_program which)
{
    return &trace->lane[which];
}

void slip_trace_ops_follow(slip_trace_lane *lane, const slip_program *program)
{
    lane->program = program;
}

/* The dataset of what is gathered; the groups above it are made on the way. */
static bool write_dataset(const slip_trace_lane *lane)
{
    const slip_op *op = &lane->program->ops[lane->op];
    char name[96];
    hsize_t size[2] = {(hsize_t)lane->rows, (hsize_t)lane->columns};
    snprintf(name, sizeof name, "%lld/%04d_%s_%d/%s", (long long)lane->step, lane->op, lane->trace->name(op->kind), op->layer,
             buffer_names[lane->buffer]);
    hid_t link = H5Pcreate(H5P_LINK_CREATE), space = H5Screate_simple(2, size, NULL);
    H5Pset_create_intermediate_group(link, 1);
    hid_t set = H5Dcreate2(lane->group, name, H5T_IEEE_F32LE, space, link, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = set >= 0 && H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, lane->values) >= 0;
    if (!ok)
        slip_output_failed(lane->trace->path); /* the next call would forget why */
    if (set >= 0)
        ok = H5Dclose(set) >= 0 && ok;
    H5Sclose(space);
    H5Pclose(link);
    return ok;
}

static void flush(slip_trace_lane *lane)
{
    if (lane->op >= 0 && lane->rows > 0 && !lane->trace->failed && !write_dataset(lane))
        lane->trace->failed = true;
    lane->rows = 0;
}

static bool make_room(slip_trace_lane *lane, size_t floats)
{
    if (floats <= lane->room)
        return true;
    float *values = realloc(lane->values, 2 * floats * sizeof *values);
    if (!values)
        return false;
    lane->values = values;
    lane->room = 2 * floats;
    return true;
}

void slip_trace_ops_watch(void *context, int32_t op, slip_buffer buffer, int32_t row, const float *values, int64_t count)
{
    slip_trace_lane *lane = context;
    bool again = op < lane->op || (op == lane->op && row < lane->rows);
    if (op != lane->op || again) {
        flush(lane);
        lane->step += again || lane->step == 0;
        lane->op = op;
        lane->buffer = buffer;
        lane->columns = count;
    }
    if (count == 0 || !make_room(lane, (size_t)((lane->rows + 1) * count))) {
        lane->trace->failed = lane->trace->failed || count > 0;
        return;
    }
    memcpy(lane->values + lane->rows++ * count, values, (size_t)count * sizeof *values);
}

slip_status slip_trace_ops_finish(slip_trace_ops *trace)
{
    for (int i = 0; i < SLIP_TRACE_LANES; i++)
        flush(&trace->lane[i]);
    bool closed = close_all(trace);
    return closed && !trace->failed ? SLIP_OK : slip_output_failed(trace->path);
}
