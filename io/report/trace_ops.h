/* Every op's result of every step, one HDF5 file, for comparing executors (tests/golden/compare_ops.c):
 *
 *   /steps/<step>/<op>_<NAME>_<layer>/<BUFFER>   f32 [rows, columns that the op wrote]; the target
 *   /draft/...                                   the same of the draft, a number an inject and a block
 *
 * <op> is the op's place in its program, 4 digits; <layer> is -1 outside of layers; steps count from 1. An op's rows are gathered
 * and written when the next op begins.
 */
#ifndef SLIP_IO_REPORT_TRACE_OPS_H
#define SLIP_IO_REPORT_TRACE_OPS_H

#include "io/base/status.h"
#include "ranks/model/program.h"

typedef struct slip_trace_ops slip_trace_ops;

/* One program's part of the file. */
typedef struct slip_trace_lane slip_trace_lane;
typedef enum { SLIP_TRACE_TARGET, SLIP_TRACE_DRAFT, SLIP_TRACE_LANES } slip_trace_program;

/* Create the file, which was claimed (io/report/output.h). `path` is borrowed. `name` tells an op's name. */
slip_status slip_trace_ops_create(const char *path, const char *(*name)(slip_op_kind kind), slip_trace_ops **trace);
void slip_trace_ops_free(slip_trace_ops *trace);

/* The context of the watch below. Its program, borrowed, is set before it runs. */
slip_trace_lane *slip_trace_ops_lane(slip_trace_ops *trace, slip_trace_program which);
void slip_trace_ops_follow(slip_trace_lane *lane, const slip_program *program);

/* A slip_watch (kernels/executor.h). Rows of an op come in order, ops of a step in order: an op or a row that is not beyond the
 * last one begins a new step. A fault is kept for slip_trace_ops_finish(). */
void slip_trace_ops_watch(void *lane, int32_t op, slip_buffer buffer, int32_t row, const float *values, int64_t count);

/* Write what is gathered and close the file. */
slip_status slip_trace_ops_finish(slip_trace_ops *trace);

#endif
