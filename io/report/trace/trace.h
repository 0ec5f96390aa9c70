/* --trace: the record of a run as one HDF5 file (io/report/trace/rows.h), written as it goes.
 *
 * Rows are kept in memory and written every few seconds, between two steps. The file can be read at any time, also when the process is
 * killed in mid-write (io/report/trace/driver.h), and no mark in it says that it is open. A resumed run appends.
 */
#ifndef SLIP_IO_REPORT_TRACE_TRACE_H
#define SLIP_IO_REPORT_TRACE_TRACE_H

#include <stdbool.h>

#include "io/base/status.h"
#include "io/report/trace/rows.h"
#include "ranks/model/model.h"

typedef struct slip_trace slip_trace;

/* Which expert was picked how often. The picks are borrowed, and looked at whenever rows are written. */
typedef struct {
    const int64_t *picks;            /* [layers of the model, experts]; NULL: not counted */
    int32_t layers[SLIP_MAX_LAYERS]; /* [count]: those with experts */
    int32_t count, experts;
} slip_trace_experts;

/* Get ready to write `path`, which was claimed (io/report/output.h) and is borrowed. A file that is there is the trace of a run that this
 * one goes on with: SLIP_ERR_INPUT unless it is whole and of the same `run_hash`. Nothing is written yet. */
slip_status slip_trace_open(const char *path, const char *run_hash, slip_trace **trace);

/* A run begins: make the file, or open it to append. `run` is copied; its number and state are ours. */
slip_status slip_trace_begin(slip_trace *trace, const slip_trace_run *run, const slip_trace_experts *experts);

/* Add a row; `run` is filled in. A fault is told by the next slip_trace_tick(). */
void slip_trace_add_step(slip_trace *trace, slip_trace_step row);
void slip_trace_add_block(slip_trace *trace, slip_trace_block row);
void slip_trace_add_request(slip_trace *trace, slip_trace_request row);

/* So many tokens of the step that was added last do not count: they stood behind a stop string. */
void slip_trace_take_back(slip_trace *trace, int32_t tokens);

/* Seconds from the beginning of the run to `now_s`, by the clock of io/base/clock.h. */
double slip_trace_seconds(const slip_trace *trace, double now_s);

/* How far the run is, for its row. */
void slip_trace_count(slip_trace *trace, int64_t finished, int64_t failed);

/* Write what there is, if it is time to. */
slip_status slip_trace_tick(slip_trace *trace);

/* Write the rest under the run's last state ("done", "stopped", "failed"), close, and free *trace in any case; NULL is fine. A file that
 * nothing could be written to is removed. */
slip_status slip_trace_close(slip_trace *trace, const char *state);

/* Is there a trace at `path`? */
bool slip_trace_is(const char *path);

#endif
