/* A table of a trace in its file: a chunked dataset of compounds. The reader and the writer of traces share it. */
#ifndef SLIP_IO_REPORT_TRACE_TABLE_H
#define SLIP_IO_REPORT_TRACE_TABLE_H

#include <hdf5.h>

#include "io/base/status.h"
#include "io/report/trace/rows.h"

/* An open dataset. */
typedef struct {
    const slip_trace_shape *shape;
    hid_t set, memory_type;
    int64_t rows; /* in the file */
} slip_trace_table;

/* All of these say by HDF5's error stack why they failed (slip_output_failed). */
herr_t slip_trace_table_create(slip_trace_table *table, const slip_trace_shape *shape, hid_t file);
herr_t slip_trace_table_write(slip_trace_table *table, int64_t first, int64_t count, const void *rows); /* grows the table as needed */
herr_t slip_trace_table_read(const slip_trace_table *table, int64_t first, int64_t count, void *rows);
void slip_trace_table_close(slip_trace_table *table);

/* Open a table and check that it is what we write: a chunked, unfiltered dataset of one dimension whose columns have our names, kinds and
 * sizes, and no others. SLIP_ERR_INPUT names the column. */
slip_status slip_trace_table_open(slip_trace_table *table, const slip_trace_shape *shape, hid_t file, const char *path);

/* Open a trace: it has our format and version. */
slip_status slip_trace_file_open(const char *path, unsigned flags, hid_t *file);

#endif
