/* /expert_load and /expert_layers of a trace: how often each expert was picked. The reader and the writer of traces share it. */
#ifndef SLIP_IO_REPORT_TRACE_EXPERTS_H
#define SLIP_IO_REPORT_TRACE_EXPERTS_H

#include <hdf5.h>

#include "io/report/trace/trace.h"

/* Make the datasets, or open those that are there: of the same layers and experts, or SLIP_ERR_INPUT. */
slip_status slip_trace_experts_open(hid_t file, const char *path, const slip_trace_experts *experts, hid_t *load);

/* Write the row of a run, which counts from 1. */
herr_t slip_trace_experts_write(hid_t load, int32_t run, const slip_trace_experts *experts);

/* The picks of all runs together: *picks [count, experts] and *layers [count], which the caller frees; NULL where nothing was counted. */
slip_status slip_trace_experts_read(hid_t file, const char *path, int64_t **picks, int32_t **layers, int32_t *count, int32_t *experts);

#endif
