/* How a trace's bytes reach its file: a file driver for HDF5 that keeps the file on the disk whole between any two of its writes, so that
 * whatever reads HDF5 can read it at any time, and after a SIGKILL at any time.
 *
 * Rows and everything behind the end of the last flushed file are written at once: nothing in the file points there yet. Changes of what is
 * there (the superblock, indices, lengths) wait in memory until HDF5 flushes, and are then written in the order in which each leaves a whole
 * file: the new end of the file, names, indices from their root down, and the lengths of the tables last.
 *
 * It is for files whose objects only grow: space that HDF5 frees and uses again between two flushes would be overwritten too early.
 */
#ifndef SLIP_IO_REPORT_TRACE_DRIVER_H
#define SLIP_IO_REPORT_TRACE_DRIVER_H

#include <hdf5.h>

/* A property list for H5Fcreate() or H5Fopen(), to be closed; negative: HDF5's error stack says why not. */
hid_t slip_trace_driver(void);

#endif
