/* A record of every verified block, one HDF5 file: /blocks/{step,sequence,position,drafted,accepted}, a row a block.
 * Kept in memory while decoding, written at the end.
 */
#ifndef SLIP_IO_REPORT_TRACE_H
#define SLIP_IO_REPORT_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base/status.h"

typedef struct slip_trace slip_trace;

/* Room for SLIP_TRACE_BLOCKS blocks; what comes after is counted and left out. `path` is borrowed. */
enum { SLIP_TRACE_BLOCKS = 1 << 20 };
slip_status slip_trace_create(const char *path, slip_trace **trace);
void slip_trace_free(slip_trace *trace);

void slip_trace_block(slip_trace *trace, uint64_t step, int32_t sequence, int64_t position, int32_t drafted, int32_t accepted);

/* Is there a trace at `path`? */
bool slip_trace_is(const char *path);

/* Write the file, which was claimed (io/report/output.h). */
slip_status slip_trace_write(const slip_trace *trace);

#endif
