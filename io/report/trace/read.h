/* A trace in memory, for slipstream report. It may be of a run that goes on, or that was killed. */
#ifndef SLIP_IO_REPORT_TRACE_READ_H
#define SLIP_IO_REPORT_TRACE_READ_H

#include "io/report/trace/rows.h"

#include "io/base/status.h"

/* Texts end with a NUL and are fit for a terminal. Rows of an unknown run are left out.
 * A run that is "running" and not the last was killed, and its state says so. */
typedef struct {
    slip_trace_run *runs; /* run i + 1 */
    slip_trace_step *steps;
    slip_trace_block *blocks;
    slip_trace_request *requests;
    int64_t run_count, step_count, block_count, request_count;
    int64_t *picks; /* [layer_count, experts], all runs together; NULL: not counted */
    int32_t *layers;
    int32_t layer_count, experts;
} slip_trace_data;

/* SLIP_ERR_INPUT names the dataset and what is wrong with it. HDF5 itself crashes on many crafted files: only a trusted one is to be read. */
slip_status slip_trace_read(const char *path, slip_trace_data *data);
void slip_trace_data_free(slip_trace_data *data);

#endif
