#include "io/report/trace/trace.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/checkpoint/hdf5.h"
#include "io/report/output.h"
#include "io/report/trace/driver.h"
#include "io/report/trace/experts.h"
#include "io/report/trace/table.h"

static const double flush_seconds = 5;

/* Rows that wait to be written. */
typedef struct {
    char *rows;
    int64_t count, room, written;
} pending;

struct slip_trace {
    const char *path;
    hid_t file;
    bool made, tried, saved; /* the file is ours to make; that was begun; something of it is on the disk */
    bool failed;
    slip_trace_table tables[SLIP_TRACE_TABLES];
    pending pending[SLIP_TRACE_TABLES];
    slip_trace_run run;
    slip_trace_experts experts;
    hid_t load; /* /expert_load; 0: none */
    double flushed;
};

static slip_status allocate(slip_trace *trace)
{
    for (int t = 0; t < SLIP_TRACE_TABLES; t++) {
        pending *p = &trace->pending[t];
        p->room = (int64_t)slip_trace_shapes[t].chunk;
        if ((p->rows = malloc((size_t)p->room * slip_trace_shapes[t].row_size)) == NULL)
            return slip_fail(SLIP_ERR_FAILED, "out of memory for a trace");
    }
    return SLIP_OK;
}

static void close_file(slip_trace *trace)
{
    for (int t = 0; t < SLIP_TRACE_TABLES; t++)
        slip_trace_table_close(&trace->tables[t]);
    if (trace->load > 0)
        H5Dclose(trace->load);
    trace->load = 0;
}

static void free_trace(slip_trace *trace)
{
    for (int t = 0; t < SLIP_TRACE_TABLES; t++)
        free(trace->pending[t].rows);
    free(trace);
}

/* ---- the file of the run before ---- */

static slip_status open_tables(slip_trace *trace, unsigned flags)
{
    slip_status status = slip_trace_file_open(trace->path, flags, &trace->file);
    for (int t = 0; t < SLIP_TRACE_TABLES && status == SLIP_OK; t++) {
        status = slip_trace_table_open(&trace->tables[t], &slip_trace_shapes[t], trace->file, trace->path);
        trace->pending[t].written = trace->tables[t].rows;
    }
    return status;
}

/* The last run in the file was of this run's hash. */
static slip_status check_last_run(slip_trace *trace, const char *run_hash)
{
    const slip_trace_table *runs = &trace->tables[SLIP_TRACE_TABLE_RUNS];
    slip_trace_run last = {0};
    if (runs->rows > 0 && slip_trace_table_read(runs, runs->rows - 1, 1, &last) < 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: /runs: row %lld cannot be read", trace->path, (long long)runs->rows - 1);
    last.run_hash[sizeof last.run_hash - 1] = '\0';
    if (runs->rows > 0 && strcmp(last.run_hash, run_hash) != 0)
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: run_hash: %s: the trace is of another model or other settings (this run's is %s): give --trace another name",
                         trace->path, last.run_hash, run_hash);
    return SLIP_OK;
}

static slip_status check_before(slip_trace *trace, const char *run_hash)
{
    slip_status status = open_tables(trace, H5F_ACC_RDONLY);
    if (status == SLIP_OK)
        status = check_last_run(trace, run_hash);
    close_file(trace);
    if (trace->file > 0)
        H5Fclose(trace->file);
    trace->file = 0;
    return status;
}

bool slip_trace_is(const char *path)
{
    hid_t file;
    bool is = slip_trace_file_open(path, H5F_ACC_RDONLY, &file) == SLIP_OK;
    if (is)
        H5Fclose(file);
    else
        slip_clear();
    return is;
}

slip_status slip_trace_open(const char *path, const char *run_hash, slip_trace **out)
{
    slip_trace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    trace->path = path;
    slip_status status = allocate(trace);
    trace->made = status == SLIP_OK && !slip_trace_is(path); /* which clears the cause of what failed before */
    if (status == SLIP_OK && !trace->made)
        status = check_before(trace, run_hash);
    if (status != SLIP_OK) {
        free_trace(trace);
        return status;
    }
    *out = trace;
    return SLIP_OK;
}

/* ---- writing ---- */

static herr_t write_attribute(hid_t file, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR), attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t status = attribute < 0 ? -1 : H5Awrite(attribute, type, value);
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Sclose(space);
    return status;
}

static slip_status make_file(slip_trace *trace)
{
    const int32_t version = SLIP_TRACE_VERSION;
    slip_hdf5_prepare();
    trace->tried = true;
    hid_t access = slip_trace_driver();
    trace->file = access < 0 ? -1 : H5Fcreate(trace->path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    if (trace->file < 0)
        return slip_output_failed(trace->path);
    H5Pclose(access);
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, sizeof SLIP_TRACE_FORMAT - 1);
    herr_t status = write_attribute(trace->file, "format", text, SLIP_TRACE_FORMAT);
    H5Tclose(text);
    if (status >= 0)
        status = write_attribute(trace->file, "version", H5T_STD_I32LE, &version);
    for (int t = 0; t < SLIP_TRACE_TABLES && status >= 0; t++)
        status = slip_trace_table_create(&trace->tables[t], &slip_trace_shapes[t], trace->file);
    return status < 0 ? slip_output_failed(trace->path) : SLIP_OK;
}

static herr_t write_table(slip_trace *trace, int t)
{
    pending *p = &trace->pending[t];
    if (slip_trace_table_write(&trace->tables[t], p->written, p->count, p->rows) < 0)
        return -1;
    p->written += p->count;
    p->count = 0;
    return 0;
}

static slip_status flush(slip_trace *trace)
{
    herr_t status = 0;
    trace->run.seconds = slip_trace_seconds(trace, slip_now_s());
    for (int t = SLIP_TRACE_TABLE_STEPS; t < SLIP_TRACE_TABLES && status >= 0; t++)
        status = write_table(trace, t);
    if (status >= 0)
        status = slip_trace_table_write(&trace->tables[SLIP_TRACE_TABLE_RUNS], trace->run.run - 1, 1, &trace->run);
    if (status >= 0 && trace->load > 0)
        status = slip_trace_experts_write(trace->load, trace->run.run, &trace->experts);
    if (status >= 0)
        status = H5Fflush(trace->file, H5F_SCOPE_GLOBAL);
    trace->flushed = slip_now_s();
    trace->failed = status < 0;
    if (status < 0)
        return slip_output_failed(trace->path);
    trace->saved = true;
    return SLIP_OK;
}

slip_status slip_trace_begin(slip_trace *trace, const slip_trace_run *run, const slip_trace_experts *experts)
{
    slip_status status = trace->made ? make_file(trace) : open_tables(trace, H5F_ACC_RDWR);
    trace->saved = !trace->made;
    trace->run = *run;
    trace->run.run = (int32_t)trace->tables[SLIP_TRACE_TABLE_RUNS].rows + 1;
    slip_trace_text(trace->run.state, sizeof trace->run.state, "running");
    trace->experts = *experts;
    if (status == SLIP_OK && experts->picks)
        status = slip_trace_experts_open(trace->file, trace->path, experts, &trace->load);
    return status == SLIP_OK ? flush(trace) : status;
}

double slip_trace_seconds(const slip_trace *trace, double now_s)
{
    return now_s - trace->run.started_monotonic;
}

void slip_trace_count(slip_trace *trace, int64_t finished, int64_t failed)
{
    trace->run.finished = finished;
    trace->run.failed = failed;
}

static void add(slip_trace *trace, slip_trace_which t, const void *row)
{
    pending *p = &trace->pending[t];
    if (trace->failed || (p->count == p->room && flush(trace) != SLIP_OK))
        return;
    memcpy(p->rows + (size_t)p->count++ * slip_trace_shapes[t].row_size, row, slip_trace_shapes[t].row_size);
}

void slip_trace_add_step(slip_trace *trace, slip_trace_step row)
{
    row.run = trace->run.run;
    add(trace, SLIP_TRACE_TABLE_STEPS, &row);
}

void slip_trace_take_back(slip_trace *trace, int32_t tokens)
{
    const pending *steps = &trace->pending[SLIP_TRACE_TABLE_STEPS];
    slip_trace_step *rows = (slip_trace_step *)(void *)steps->rows;
    if (steps->count > 0)
        rows[steps->count - 1].tokens -= tokens;
}

void slip_trace_add_block(slip_trace *trace, slip_trace_block row)
{
    row.run = trace->run.run;
    add(trace, SLIP_TRACE_TABLE_BLOCKS, &row);
}

void slip_trace_add_request(slip_trace *trace, slip_trace_request row)
{
    row.run = trace->run.run;
    add(trace, SLIP_TRACE_TABLE_REQUESTS, &row);
}

slip_status slip_trace_tick(slip_trace *trace)
{
    if (trace->failed)
        return SLIP_ERR_FAILED; /* flush() has said why */
    return slip_now_s() - trace->flushed >= flush_seconds ? flush(trace) : SLIP_OK;
}

slip_status slip_trace_close(slip_trace *trace, const char *state)
{
    slip_status status = SLIP_OK;
    if (!trace)
        return SLIP_OK;
    if (trace->file > 0 && trace->saved && !trace->failed) {
        slip_trace_text(trace->run.state, sizeof trace->run.state, state);
        status = flush(trace);
    }
    close_file(trace);
    if (trace->file > 0 && H5Fclose(trace->file) < 0 && status == SLIP_OK && trace->saved)
        status = slip_output_failed(trace->path);
    if (trace->tried && !trace->saved)
        unlink(trace->path);
    free_trace(trace);
    return status;
}
