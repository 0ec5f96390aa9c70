#include "io/report/trace/experts.h"

#include <stdlib.h>
#include <string.h>

#include "io/report/output.h"

static const char load_name[] = "expert_load", layers_name[] = "expert_layers";
enum { EXPERTS_MAX = 1 << 16 };

static slip_status create(hid_t file, const char *path, const slip_trace_experts *experts, hid_t *load)
{
    hsize_t size[3] = {0, (hsize_t)experts->count, (hsize_t)experts->experts}, most[3] = {H5S_UNLIMITED, size[1], size[2]};
    hsize_t chunk[3] = {1, size[1], size[2]};
    hid_t space = H5Screate_simple(3, size, most), plan = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plan, 3, chunk);
    *load = H5Dcreate2(file, load_name, H5T_STD_I64LE, space, H5P_DEFAULT, plan, H5P_DEFAULT);
    H5Pclose(plan);
    H5Sclose(space);
    space = H5Screate_simple(1, &size[1], NULL);
    hid_t layers = *load < 0 ? -1 : H5Dcreate2(file, layers_name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    herr_t status = layers < 0 ? -1 : H5Dwrite(layers, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, experts->layers);
    slip_status made = status < 0 ? slip_output_failed(path) : SLIP_OK;
    if (layers >= 0)
        H5Dclose(layers);
    H5Sclose(space);
    return made;
}

/* Open a dataset whose elements are of `type`; its size is [dims]. */
static slip_status open_set(hid_t file, const char *path, const char *name, hid_t type, int dims, hsize_t *size, hid_t *set)
{
    hid_t opened = H5Dopen2(file, name, H5P_DEFAULT);
    if (opened < 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: no dataset", path, name);
    hid_t found = H5Dget_type(opened), space = H5Dget_space(opened), plan = H5Dget_create_plist(opened);
    bool good = H5Tequal(found, type) > 0 && H5Sget_simple_extent_ndims(space) == dims && H5Pget_nfilters(plan) == 0 &&
                H5Sget_simple_extent_dims(space, size, NULL) == dims;
    H5Tclose(found);
    H5Sclose(space);
    H5Pclose(plan);
    if (good) {
        *set = opened;
        return SLIP_OK;
    }
    H5Dclose(opened);
    return slip_fail(SLIP_ERR_INPUT, "%s: /%s: not plain numbers of %d dimensions, as this version writes it", path, name, dims);
}

static slip_status open_load(hid_t file, const char *path, hsize_t size[3], hid_t *load)
{
    slip_status status = open_set(file, path, load_name, H5T_STD_I64LE, 3, size, load);
    if (status != SLIP_OK || (size[1] > 0 && size[1] <= SLIP_MAX_LAYERS && size[2] > 0 && size[2] <= EXPERTS_MAX && size[0] <= INT32_MAX))
        return status;
    H5Dclose(*load);
    *load = 0;
    return slip_fail(SLIP_ERR_INPUT, "%s: /%s: [%llu, %llu, %llu]: not runs, layers and experts", path, load_name,
                     (unsigned long long)size[0], (unsigned long long)size[1], (unsigned long long)size[2]);
}

slip_status slip_trace_experts_open(hid_t file, const char *path, const slip_trace_experts *experts, hid_t *load)
{
    hsize_t size[3];
    if (H5Lexists(file, load_name, H5P_DEFAULT) <= 0)
        return create(file, path, experts, load);
    slip_status status = open_load(file, path, size, load);
    if (status == SLIP_OK && (size[1] != (hsize_t)experts->count || size[2] != (hsize_t)experts->experts))
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: of %llu layers and %llu experts, and the model has %d and %d", path, load_name,
                           (unsigned long long)size[1], (unsigned long long)size[2], experts->count, experts->experts);
    return status;
}

herr_t slip_trace_experts_write(hid_t load, int32_t run, const slip_trace_experts *experts)
{
    hsize_t now[3] = {0}, size[3] = {(hsize_t)run, (hsize_t)experts->count, (hsize_t)experts->experts};
    hid_t space = H5Dget_space(load);
    H5Sget_simple_extent_dims(space, now, NULL);
    H5Sclose(space);
    if (now[0] < size[0] && H5Dset_extent(load, size) < 0)
        return -1;
    herr_t status = 0;
    space = H5Dget_space(load);
    hid_t memory = H5Screate_simple(1, &size[2], NULL);
    for (int32_t i = 0; i < experts->count && status >= 0; i++) {
        hsize_t start[3] = {(hsize_t)run - 1, (hsize_t)i, 0}, part[3] = {1, 1, size[2]};
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, part, NULL);
        status =
            H5Dwrite(load, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, experts->picks + (int64_t)experts->layers[i] * experts->experts);
    }
    H5Sclose(memory);
    H5Sclose(space);
    return status;
}

/* ---- reading ---- */

/* Add up the runs' picks, one run at a time. */
static slip_status sum_runs(hid_t load, const char *path, const hsize_t size[3], int64_t *sum)
{
    size_t count = (size_t)(size[1] * size[2]);
    int64_t *one = malloc(count * sizeof *one);
    if (!one)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    hsize_t part[3] = {1, size[1], size[2]};
    hid_t space = H5Dget_space(load), memory = H5Screate_simple(3, part, NULL);
    slip_status status = SLIP_OK;
    for (hsize_t run = 0; run < size[0] && status == SLIP_OK; run++) {
        hsize_t start[3] = {run, 0, 0};
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, part, NULL);
        if (H5Dread(load, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, one) < 0)
            status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: row %llu cannot be read", path, load_name, (unsigned long long)run);
        for (size_t i = 0; i < count && status == SLIP_OK; i++)
            if (one[i] < 0 || __builtin_add_overflow(sum[i], one[i], &sum[i]))
                status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: %lld: no number of picks", path, load_name, (long long)one[i]);
    }
    H5Sclose(memory);
    H5Sclose(space);
    free(one);
    return status;
}

static slip_status read_layers(hid_t file, const char *path, hsize_t count, int32_t *layers)
{
    hsize_t size;
    hid_t set;
    slip_status status = open_set(file, path, layers_name, H5T_STD_I32LE, 1, &size, &set);
    if (status != SLIP_OK)
        return status;
    if (size != count || H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, layers) < 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: not one number a layer of /%s", path, layers_name, load_name);
    H5Dclose(set);
    return status;
}

slip_status slip_trace_experts_read(hid_t file, const char *path, int64_t **picks, int32_t **layers, int32_t *count, int32_t *experts)
{
    hsize_t size[3];
    hid_t load;
    *picks = NULL;
    *layers = NULL;
    *count = *experts = 0;
    if (H5Lexists(file, load_name, H5P_DEFAULT) <= 0)
        return SLIP_OK;
    slip_status status = open_load(file, path, size, &load);
    if (status != SLIP_OK)
        return status;
    *picks = calloc((size_t)(size[1] * size[2]), sizeof **picks);
    *layers = calloc((size_t)size[1], sizeof **layers);
    status = *picks && *layers ? sum_runs(load, path, size, *picks) : slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK)
        status = read_layers(file, path, size[1], *layers);
    H5Dclose(load);
    *count = (int32_t)size[1];
    *experts = (int32_t)size[2];
    return status;
}
