#include "io/report/trace/table.h"

#include <string.h>

#include "io/checkpoint/hdf5.h"
#include "io/report/trace/driver.h"

#define COLUMN(row, kind, name, elements) {#name, SLIP_TRACE_##kind, offsetof(row, name), sizeof(((row *)0)->name)},
static const slip_trace_column run_columns[] = {SLIP_TRACE_RUNS(COLUMN)};
static const slip_trace_column step_columns[] = {SLIP_TRACE_STEPS(COLUMN)};
static const slip_trace_column block_columns[] = {SLIP_TRACE_BLOCKS(COLUMN)};
static const slip_trace_column request_columns[] = {SLIP_TRACE_REQUESTS(COLUMN)};

#define SHAPE(name, columns, row, chunk) \
    { \
        (name), (columns), sizeof(columns) / sizeof *(columns), sizeof(row), chunk \
    }
const slip_trace_shape slip_trace_shapes[SLIP_TRACE_TABLES] = {
    [SLIP_TRACE_TABLE_RUNS] = SHAPE("runs", run_columns, slip_trace_run, 4),
    [SLIP_TRACE_TABLE_STEPS] = SHAPE("steps", step_columns, slip_trace_step, 4096),
    [SLIP_TRACE_TABLE_BLOCKS] = SHAPE("blocks", block_columns, slip_trace_block, 8192),
    [SLIP_TRACE_TABLE_REQUESTS] = SHAPE("requests", request_columns, slip_trace_request, 512),
};

void slip_trace_text(char *field, size_t size, const char *text)
{
    size_t length = strlen(text) < size - 1 ? strlen(text) : size - 1;
    while (length > 0 && text[length] != '\0' && ((unsigned char)text[length] & 0xC0) == 0x80) /* inside of a character */
        length--;
    memset(field, 0, size);
    memcpy(field, text, length);
}

/* The type of a column, in memory or in the file; to be closed. */
static hid_t type_of(const slip_trace_column *column, bool memory)
{
    switch (column->kind) {
    case SLIP_TRACE_I32: return H5Tcopy(memory ? H5T_NATIVE_INT32 : H5T_STD_I32LE);
    case SLIP_TRACE_I64: return H5Tcopy(memory ? H5T_NATIVE_INT64 : H5T_STD_I64LE);
    case SLIP_TRACE_F64: return H5Tcopy(memory ? H5T_NATIVE_DOUBLE : H5T_IEEE_F64LE);
    case SLIP_TRACE_TEXT: break;
    }
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, column->size);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static hid_t compound(const slip_trace_shape *shape, bool memory)
{
    size_t size = 0;
    for (size_t i = 0; i < shape->column_count; i++)
        size += shape->columns[i].size;
    hid_t made = H5Tcreate(H5T_COMPOUND, memory ? shape->row_size : size);
    size_t offset = 0;
    for (size_t i = 0; i < shape->column_count; i++) {
        hid_t type = type_of(&shape->columns[i], memory);
        H5Tinsert(made, shape->columns[i].name, memory ? shape->columns[i].offset : offset, type);
        offset += shape->columns[i].size;
        H5Tclose(type);
    }
    return made;
}

herr_t slip_trace_table_create(slip_trace_table *table, const slip_trace_shape *shape, hid_t file)
{
    hsize_t none = 0, unlimited = H5S_UNLIMITED, chunk = shape->chunk;
    hid_t type = compound(shape, false), space = H5Screate_simple(1, &none, &unlimited), plan = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plan, 1, &chunk);
    *table = (slip_trace_table){.shape = shape, .memory_type = compound(shape, true)};
    table->set = H5Dcreate2(file, shape->name, type, space, H5P_DEFAULT, plan, H5P_DEFAULT);
    H5Pclose(plan);
    H5Sclose(space);
    H5Tclose(type);
    return table->set < 0 ? -1 : 0;
}

/* Read or write rows [first, first + count). */
static herr_t transfer(const slip_trace_table *table, int64_t first, int64_t count, const void *from, void *to)
{
    hsize_t start = (hsize_t)first, size = (hsize_t)count;
    hid_t memory = H5Screate_simple(1, &size, NULL), file = H5Dget_space(table->set);
    herr_t status = H5Sselect_hyperslab(file, H5S_SELECT_SET, &start, NULL, &size, NULL);
    if (status >= 0)
        status = to ? H5Dread(table->set, table->memory_type, memory, file, H5P_DEFAULT, to)
                    : H5Dwrite(table->set, table->memory_type, memory, file, H5P_DEFAULT, from);
    H5Sclose(memory);
    H5Sclose(file);
    return status;
}

herr_t slip_trace_table_write(slip_trace_table *table, int64_t first, int64_t count, const void *rows)
{
    hsize_t size = (hsize_t)first + (hsize_t)count;
    if (count == 0)
        return 0;
    if (first + count > table->rows && H5Dset_extent(table->set, &size) < 0)
        return -1;
    if (transfer(table, first, count, rows, NULL) < 0)
        return -1;
    table->rows = first + count > table->rows ? first + count : table->rows;
    return 0;
}

herr_t slip_trace_table_read(const slip_trace_table *table, int64_t first, int64_t count, void *rows)
{
    return count == 0 ? 0 : transfer(table, first, count, NULL, rows);
}

void slip_trace_table_close(slip_trace_table *table)
{
    if (table->set > 0)
        H5Dclose(table->set);
    if (table->memory_type > 0)
        H5Tclose(table->memory_type);
    *table = (slip_trace_table){0};
}

/* ---- a file that is there ---- */

/* The columns of a table in the file are ours. */
static slip_status check_columns(const slip_trace_shape *shape, hid_t type, const char *path)
{
    if (H5Tget_class(type) != H5T_COMPOUND || H5Tget_nmembers(type) != (int)shape->column_count)
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: not a table of %zu columns, as this version writes it", path, shape->name,
                         shape->column_count);
    for (unsigned i = 0; i < shape->column_count; i++) {
        hid_t found = H5Tget_member_type(type, i), wanted = type_of(&shape->columns[i], false);
        char *name = H5Tget_member_name(type, i);
        bool same = name && strcmp(name, shape->columns[i].name) == 0 && H5Tequal(found, wanted) > 0;
        H5free_memory(name);
        H5Tclose(found);
        H5Tclose(wanted);
        if (!same)
            return slip_fail(SLIP_ERR_INPUT, "%s: /%s: column %u: not %s, as this version writes it", path, shape->name, i,
                             shape->columns[i].name);
    }
    return SLIP_OK;
}

/* It is of one dimension, in chunks of our size, without filters. */
static slip_status check_layout(slip_trace_table *table, hid_t space, hid_t plan, const char *path)
{
    hsize_t rows = 0, chunk = 0;
    if (H5Sget_simple_extent_ndims(space) != 1 || H5Sget_simple_extent_dims(space, &rows, NULL) != 1 || rows > INT64_MAX)
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: not of one dimension", path, table->shape->name);
    if (H5Pget_layout(plan) != H5D_CHUNKED || H5Pget_chunk(plan, 1, &chunk) != 1 || chunk != table->shape->chunk)
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: not in chunks of %zu rows", path, table->shape->name, table->shape->chunk);
    if (H5Pget_nfilters(plan) != 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: it has filters", path, table->shape->name);
    table->rows = (int64_t)rows;
    return SLIP_OK;
}

slip_status slip_trace_table_open(slip_trace_table *table, const slip_trace_shape *shape, hid_t file, const char *path)
{
    *table = (slip_trace_table){.shape = shape};
    if (H5Lexists(file, shape->name, H5P_DEFAULT) <= 0 || (table->set = H5Dopen2(file, shape->name, H5P_DEFAULT)) < 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: not there, or no dataset", path, shape->name);
    hid_t type = H5Dget_type(table->set), space = H5Dget_space(table->set), plan = H5Dget_create_plist(table->set);
    slip_status status = check_columns(shape, type, path);
    if (status == SLIP_OK)
        status = check_layout(table, space, plan, path);
    H5Tclose(type);
    H5Sclose(space);
    H5Pclose(plan);
    if (status != SLIP_OK)
        slip_trace_table_close(table);
    else
        table->memory_type = compound(shape, true);
    return status;
}

/* The attribute `format` of the root: a string of our size. */
static bool has_format(hid_t file)
{
    char text[sizeof SLIP_TRACE_FORMAT] = "";
    if (H5Aexists(file, "format") <= 0)
        return false;
    hid_t attribute = H5Aopen(file, "format", H5P_DEFAULT), type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool ours = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && H5Tget_size(type) == sizeof text - 1 &&
                H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, type, text) >= 0;
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return ours && strcmp(text, SLIP_TRACE_FORMAT) == 0;
}

static int32_t version_of(hid_t file)
{
    int32_t version = 0;
    if (H5Aexists(file, "version") <= 0)
        return 0;
    hid_t attribute = H5Aopen(file, "version", H5P_DEFAULT), type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    if (H5Tequal(type, H5T_STD_I32LE) <= 0 || H5Sget_simple_extent_npoints(space) != 1 ||
        H5Aread(attribute, H5T_NATIVE_INT32, &version) < 0)
        version = 0;
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return version;
}

slip_status slip_trace_file_open(const char *path, unsigned flags, hid_t *file)
{
    slip_hdf5_prepare();
    hid_t access = flags == H5F_ACC_RDONLY ? H5Pcreate(H5P_FILE_ACCESS) : slip_trace_driver();
    hid_t opened = access < 0 ? -1 : H5Fopen(path, flags, access);
    if (access >= 0)
        H5Pclose(access);
    if (opened < 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: not an HDF5 file, or it cannot be opened", path);
    slip_status status = SLIP_OK;
    if (!has_format(opened))
        status = slip_fail(SLIP_ERR_INPUT, "%s: format: not \"" SLIP_TRACE_FORMAT "\": it is no trace of slipstream batch", path);
    else if (version_of(opened) != SLIP_TRACE_VERSION)
        status = slip_fail(SLIP_ERR_INPUT, "%s: version: %d: this program reads %d", path, version_of(opened), SLIP_TRACE_VERSION);
    if (status != SLIP_OK)
        H5Fclose(opened);
    else
        *file = opened;
    return status;
}
