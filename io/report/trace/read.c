#include "io/report/trace/read.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/base/printable.h"
#include "io/report/trace/experts.h"
#include "io/report/trace/table.h"

/* All rows of a table; no more than the file has room for, but for the chunk that was not filled. */
static slip_status read_rows(hid_t file, const char *path, slip_trace_which which, void **rows, int64_t *count)
{
    const slip_trace_shape *shape = &slip_trace_shapes[which];
    slip_trace_table table;
    hsize_t bytes = 0;
    slip_status status = slip_trace_table_open(&table, shape, file, path);
    if (status != SLIP_OK)
        return status;
    if (H5Fget_filesize(file, &bytes) < 0 || table.rows > (int64_t)(bytes / 8))
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: %lld rows: more than the file has room for", path, shape->name, (long long)table.rows);
    *rows = status == SLIP_OK ? calloc((size_t)table.rows + 1, shape->row_size) : NULL;
    if (status == SLIP_OK && *rows == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "out of memory for %lld rows", (long long)table.rows);
    if (status == SLIP_OK && slip_trace_table_read(&table, 0, table.rows, *rows) < 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: its rows cannot be read", path, shape->name);
    *count = table.rows;
    slip_trace_table_close(&table);
    return status;
}

/* Texts of a table end and are printable. */
static void mend_texts(slip_trace_which which, void *rows, int64_t count)
{
    const slip_trace_shape *shape = &slip_trace_shapes[which];
    for (int64_t row = 0; row < count; row++)
        for (size_t c = 0; c < shape->column_count; c++) {
            char *field = (char *)rows + (size_t)row * shape->row_size + shape->columns[c].offset;
            if (shape->columns[c].kind != SLIP_TRACE_TEXT)
                continue;
            field[shape->columns[c].size - 1] = '\0';
            slip_make_printable(field);
        }
}

/* Rows that a killed process had not written are zeros, and belong to no run: close the gaps. `run` is every row's first column. */
static int64_t keep_known(slip_trace_which which, void *rows, int64_t count, int64_t runs)
{
    size_t size = slip_trace_shapes[which].row_size;
    int64_t kept = 0;
    for (int64_t row = 0; row < count; row++) {
        char *from = (char *)rows + (size_t)row * size;
        int32_t run;
        memcpy(&run, from, sizeof run);
        if (run < 1 || run > runs)
            continue;
        memmove((char *)rows + (size_t)kept * size, from, size);
        kept++;
    }
    return kept;
}

static slip_status check_runs(const slip_trace_data *data, const char *path)
{
    for (int64_t i = 0; i < data->run_count; i++)
        if (data->runs[i].run != i + 1)
            return slip_fail(SLIP_ERR_INPUT, "%s: /runs: row %lld: run: %d: not %lld", path, (long long)i, data->runs[i].run,
                             (long long)i + 1);
    return data->run_count > 0 ? SLIP_OK : slip_fail(SLIP_ERR_INPUT, "%s: /runs: no run has begun", path);
}

/* A run that another one followed has ended: only one at a time writes, and who ends otherwise says how. */
static void name_killed(slip_trace_data *data)
{
    for (int64_t i = 0; i + 1 < data->run_count; i++)
        if (strcmp(data->runs[i].state, "running") == 0)
            slip_trace_text(data->runs[i].state, sizeof data->runs[i].state, "killed");
}

static slip_status read_file(hid_t file, const char *path, slip_trace_data *data)
{
    struct {
        void *rows;
        int64_t count;
    } table[SLIP_TRACE_TABLES] = {{0}};
    slip_status status = SLIP_OK;
    for (int t = 0; t < SLIP_TRACE_TABLES && status == SLIP_OK; t++) {
        status = read_rows(file, path, (slip_trace_which)t, &table[t].rows, &table[t].count);
        if (status != SLIP_OK)
            continue;
        mend_texts((slip_trace_which)t, table[t].rows, table[t].count);
        if (t != SLIP_TRACE_TABLE_RUNS)
            table[t].count = keep_known((slip_trace_which)t, table[t].rows, table[t].count, table[SLIP_TRACE_TABLE_RUNS].count);
    }
    *data = (slip_trace_data){
        .runs = table[SLIP_TRACE_TABLE_RUNS].rows,
        .run_count = table[SLIP_TRACE_TABLE_RUNS].count,
        .steps = table[SLIP_TRACE_TABLE_STEPS].rows,
        .step_count = table[SLIP_TRACE_TABLE_STEPS].count,
        .blocks = table[SLIP_TRACE_TABLE_BLOCKS].rows,
        .block_count = table[SLIP_TRACE_TABLE_BLOCKS].count,
        .requests = table[SLIP_TRACE_TABLE_REQUESTS].rows,
        .request_count = table[SLIP_TRACE_TABLE_REQUESTS].count,
    };
    if (status == SLIP_OK)
        status = check_runs(data, path);
    if (status == SLIP_OK)
        name_killed(data);
    if (status == SLIP_OK)
        status = slip_trace_experts_read(file, path, &data->picks, &data->layers, &data->layer_count, &data->experts);
    return status;
}

slip_status slip_trace_read(const char *path, slip_trace_data *data)
{
    int fd;
    int64_t size;
    hid_t file;
    slip_status status = slip_file_open(path, &fd, &size); /* says better than HDF5 why not */
    if (status != SLIP_OK)
        return status;
    close(fd);
    status = slip_trace_file_open(path, H5F_ACC_RDONLY, &file);
    if (status != SLIP_OK)
        return status;
    status = read_file(file, path, data);
    H5Fclose(file);
    if (status != SLIP_OK)
        slip_trace_data_free(data);
    return status;
}

void slip_trace_data_free(slip_trace_data *data)
{
    free(data->runs);
    free(data->steps);
    free(data->blocks);
    free(data->requests);
    free(data->picks);
    free(data->layers);
    *data = (slip_trace_data){0};
}
