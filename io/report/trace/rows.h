/* The tables of a trace: one HDF5 file of what a run did, each table a dataset of compounds that grows (docs/figures.md says what the columns
 * mean and how figures come of them).
 *
 *   /runs      a row a run: the first one, and one for each that --resume goes on with
 *   /steps     a row a step
 *   /blocks    a row a verified block of a sequence
 *   /requests  a row a choice of a request that has ended
 *   /expert_load    i64 [runs, layers, experts]: rows that each expert was picked for; only where the device counts them
 *   /expert_layers  i32 [layers]: which layers of the model they are
 *
 * A column is X(row type, kind, name, elements). Rows are numbered by no column but `run`, which counts from 1: a row of zeros was never
 * written.
 */
#ifndef SLIP_IO_REPORT_TRACE_ROWS_H
#define SLIP_IO_REPORT_TRACE_ROWS_H

#include <stddef.h>
#include <stdint.h>

#define SLIP_TRACE_FORMAT "slipstream trace"
enum { SLIP_TRACE_VERSION = 1, SLIP_TRACE_ID = 128 };

/* clang-format off */
#define SLIP_TRACE_RUNS(X) \
    X(slip_trace_run, I32, run, 1) \
    X(slip_trace_run, TEXT, state, 16) /* running, done, stopped, failed; killed as read */ \
    X(slip_trace_run, F64, started_unix, 1) \
    X(slip_trace_run, F64, started_monotonic, 1) \
    X(slip_trace_run, F64, seconds, 1) \
    X(slip_trace_run, I64, requests, 1) \
    X(slip_trace_run, I64, finished, 1) \
    X(slip_trace_run, I64, failed, 1) \
    X(slip_trace_run, I32, ranks, 1) \
    X(slip_trace_run, I32, expert_slices, 1) \
    X(slip_trace_run, I32, sequences, 1) \
    X(slip_trace_run, I64, context, 1) \
    X(slip_trace_run, I64, checksums, 1) \
    X(slip_trace_run, TEXT, run_hash, 24) \
    X(slip_trace_run, TEXT, version, 32) \
    X(slip_trace_run, TEXT, commit, 48) \
    X(slip_trace_run, TEXT, device, 64) \
    X(slip_trace_run, TEXT, model, 256) \
    X(slip_trace_run, TEXT, hosts, 1024) \
    X(slip_trace_run, TEXT, argv, 2048)

#define SLIP_TRACE_STEPS(X) \
    X(slip_trace_step, I32, run, 1) \
    X(slip_trace_step, I64, step, 1) \
    X(slip_trace_step, F64, seconds, 1) /* since the run began, at the step's end */ \
    X(slip_trace_step, I32, sequences, 1) /* that decoded */ \
    X(slip_trace_step, I32, prompt_rows, 1) \
    X(slip_trace_step, I32, drafted, 1) /* 1: some block had drafts */ \
    X(slip_trace_step, I32, tokens, 1) \
    X(slip_trace_step, I64, weight_bytes, 1) \
    X(slip_trace_step, F64, step_ms, 1) \
    X(slip_trace_step, F64, draft_ms, 1) \
    X(slip_trace_step, F64, verify_ms, 1) \
    X(slip_trace_step, F64, commit_ms, 1) \
    X(slip_trace_step, F64, device_ms, 1)

#define SLIP_TRACE_BLOCKS(X) \
    X(slip_trace_block, I32, run, 1) \
    X(slip_trace_block, I64, step, 1) \
    X(slip_trace_block, I64, admission, 1) /* of the request: as in /requests */ \
    X(slip_trace_block, I32, slot, 1) \
    X(slip_trace_block, I64, position, 1) \
    X(slip_trace_block, I32, drafts, 1) \
    X(slip_trace_block, I32, accepted, 1)

#define SLIP_TRACE_REQUESTS(X) \
    X(slip_trace_request, I32, run, 1) \
    X(slip_trace_request, I64, request, 1) /* its place in the file, from 0 */ \
    X(slip_trace_request, I32, choice, 1) \
    X(slip_trace_request, I64, admission, 1) \
    X(slip_trace_request, I32, status, 1) /* 200; 4xx, 500: refused or failed; 0: it was given up */ \
    X(slip_trace_request, I32, prompt_tokens, 1) \
    X(slip_trace_request, I32, completion_tokens, 1) \
    X(slip_trace_request, I64, spec_steps, 1) \
    X(slip_trace_request, I64, draft_tokens, 1) \
    X(slip_trace_request, I64, accepted_draft_tokens, 1) \
    X(slip_trace_request, F64, time_to_first_token_ms, 1) \
    X(slip_trace_request, F64, total_ms, 1) \
    X(slip_trace_request, F64, ended_seconds, 1) /* since the run began: the result line was written */ \
    X(slip_trace_request, TEXT, finish_reason, 16) \
    X(slip_trace_request, TEXT, custom_id, SLIP_TRACE_ID)
/* clang-format on */

#define SLIP_TRACE_C_I32(name, size) int32_t name;
#define SLIP_TRACE_C_I64(name, size) int64_t name;
#define SLIP_TRACE_C_F64(name, size) double name;
#define SLIP_TRACE_C_TEXT(name, size) char name[size];
#define SLIP_TRACE_FIELD(row, kind, name, size) SLIP_TRACE_C_##kind(name, size)

typedef struct {
    SLIP_TRACE_RUNS(SLIP_TRACE_FIELD)
} slip_trace_run;

typedef struct {
    SLIP_TRACE_STEPS(SLIP_TRACE_FIELD)
} slip_trace_step;

typedef struct {
    SLIP_TRACE_BLOCKS(SLIP_TRACE_FIELD)
} slip_trace_block;

typedef struct {
    SLIP_TRACE_REQUESTS(SLIP_TRACE_FIELD)
} slip_trace_request;

typedef enum { SLIP_TRACE_I32, SLIP_TRACE_I64, SLIP_TRACE_F64, SLIP_TRACE_TEXT } slip_trace_kind;

typedef struct {
    const char *name;
    slip_trace_kind kind;
    size_t offset, size; /* bytes of the field in the row */
} slip_trace_column;

typedef enum {
    SLIP_TRACE_TABLE_RUNS,
    SLIP_TRACE_TABLE_STEPS,
    SLIP_TRACE_TABLE_BLOCKS,
    SLIP_TRACE_TABLE_REQUESTS,
    SLIP_TRACE_TABLES
} slip_trace_which;

/* A kind of row. */
typedef struct {
    const char *name; /* of the dataset */
    const slip_trace_column *columns;
    size_t column_count, row_size;
    size_t chunk; /* rows */
} slip_trace_shape;

extern const slip_trace_shape slip_trace_shapes[SLIP_TRACE_TABLES];

/* Copy a text into a column of `size` bytes: what does not fit is cut between characters, and the rest is zeros. */
void slip_trace_text(char *field, size_t size, const char *text);

#endif
