/* One dataset of a checkpoint: what HDF5 says of it is checked before any of its bytes are read. */
#include "io/checkpoint/hdf5.h"

#include <stdbool.h>
#include <string.h>

#include "io/base/file/file.h"

/* The driver tells it in words: "file read failed: time = ..., errno = 5, error message = ...". */
static herr_t find_errno(unsigned depth, const H5E_error2_t *entry, void *found)
{
    (void)depth;
    const char *text = entry->desc ? strstr(entry->desc, "errno = ") : NULL;
    if (text != NULL)
        *(int *)found = atoi(text + strlen("errno = "));
    return 0;
}

int slip_hdf5_errno(void)
{
    int found = 0;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, find_errno, &found);
    return found;
}

static herr_t find_damage(unsigned depth, const H5E_error2_t *entry, void *found)
{
    (void)depth;
    *(bool *)found |= entry->desc != NULL && strstr(entry->desc, "metadata checksum") != NULL;
    return 0;
}

/* Did HDF5's last failure come of its own checksums, which guard all that is no dataset? */
static bool metadata_damaged(void)
{
    bool found = false;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, find_damage, &found);
    return found;
}

slip_status slip_hdf5_refuse(const char *path, const char *name, const char *problem)
{
    int error = slip_hdf5_errno();
    if (error != 0)
        return slip_fail(slip_file_blame(error), "%s: /%s: cannot be read: %s", path, name, strerror(error));
    if (metadata_damaged())
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: damaged: what HDF5 keeps of it does not have its checksum", path, name);
    return slip_fail(SLIP_ERR_INPUT, "%s: /%s: %s", path, name, problem);
}

static slip_status bad(const slip_hdf5_source *source, const char *name, const char *problem)
{
    return slip_hdf5_refuse(source->path, name, problem);
}

slip_status slip_hdf5_read_string(const slip_hdf5_source *source, hid_t object, const char *owner, const char *name, size_t limit,
                                  char **text)
{
    slip_status status = SLIP_OK;
    char *buffer = NULL;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0 && slip_hdf5_errno() == 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: attribute %s is missing", source->path, owner, name);
    if (attribute < 0)
        return bad(source, owner, "");
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    size_t size = H5Tget_size(type);
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || H5Sget_simple_extent_type(space) != H5S_SCALAR) {
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: attribute %s is not one string of fixed size", source->path, owner, name);
    } else if (size == 0 || size > limit) {
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: attribute %s has %zu bytes, more than %zu", source->path, owner, name, size, limit);
    } else if ((buffer = calloc(size + 1, 1)) == NULL) {
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory for attribute %s", source->path, name);
    } else if (H5Aread(attribute, type, buffer) < 0) {
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: attribute %s cannot be read", source->path, owner, name);
    }
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    if (status == SLIP_OK)
        *text = buffer;
    else
        free(buffer);
    return status;
}

/* Contiguous, in this file, unfiltered, with its bytes allocated. */
static slip_status check_storage(const slip_hdf5_source *source, hid_t dataset, const char *name)
{
    hid_t creation = H5Dget_create_plist(dataset);
    if (creation < 0)
        return bad(source, name, "its properties cannot be read");
    const char *problem = NULL;
    if (H5Pget_layout(creation) != H5D_CONTIGUOUS)
        problem = "not stored contiguously";
    else if (H5Pget_nfilters(creation) != 0)
        problem = "stored through a filter";
    else if (H5Pget_external_count(creation) != 0)
        problem = "stored in another file";
    H5Pclose(creation);
    return problem != NULL ? bad(source, name, problem) : SLIP_OK;
}

static slip_status read_shape(const slip_hdf5_source *source, hid_t dataset, const char *name, slip_dataset *out)
{
    hid_t space = H5Dget_space(dataset);
    hsize_t sizes[SLIP_DATASET_DIMS], most[SLIP_DATASET_DIMS];
    const char *problem = NULL;
    int dims = H5Sget_simple_extent_type(space) == H5S_SIMPLE ? H5Sget_simple_extent_ndims(space) : -1;
    if (dims < 1 || dims > SLIP_DATASET_DIMS)
        problem = "not an array of one to three dimensions";
    else if (H5Sget_simple_extent_dims(space, sizes, most) != dims)
        problem = "its shape cannot be read";
    for (int i = 0; i < dims && problem == NULL; i++) {
        if (sizes[i] == 0 || sizes[i] > INT64_MAX || sizes[i] != most[i])
            problem = "a dimension is empty, too large or not fixed";
        else
            out->shape[i] = (int64_t)sizes[i];
    }
    out->dims = dims;
    H5Sclose(space);
    return problem != NULL ? bad(source, name, problem) : SLIP_OK;
}

static slip_status check_type(const slip_hdf5_source *source, hid_t dataset, const char *name, hid_t wanted)
{
    hid_t type = H5Dget_type(dataset);
    bool fine = type >= 0 && H5Tequal(type, wanted) > 0;
    if (type >= 0)
        H5Tclose(type);
    return fine ? SLIP_OK : bad(source, name, "its elements are not of the type that its dtype is stored as");
}

/* Where the bytes are, and that they are as many as the shape asks for and inside of the file. */
static slip_status locate(const slip_hdf5_source *source, hid_t dataset, int64_t item_bytes, slip_dataset *out)
{
    out->bytes = item_bytes;
    for (int i = 0; i < out->dims; i++)
        if (__builtin_mul_overflow(out->bytes, out->shape[i], &out->bytes))
            return bad(source, out->name, "its shape makes it larger than any file");
    haddr_t address = H5Dget_offset(dataset);
    if (address == HADDR_UNDEF || address > (haddr_t)source->file_size || out->bytes > source->file_size - (int64_t)address)
        return slip_fail(SLIP_ERR_INPUT, "%s: /%s: %lld bytes at %lld are outside of the file's %lld", source->path, out->name,
                         (long long)out->bytes, address == HADDR_UNDEF ? -1LL : (long long)address, (long long)source->file_size);
    if (H5Dget_storage_size(dataset) != (hsize_t)out->bytes)
        return bad(source, out->name, "its storage is not as large as its shape asks for");
    out->offset = (int64_t)address;
    return SLIP_OK;
}

static slip_status read_dtype(const slip_hdf5_source *source, hid_t dataset, const char *name, int32_t *dtype)
{
    char *text = NULL;
    slip_status status = slip_hdf5_read_string(source, dataset, name, "dtype", SLIP_CHECKPOINT_DTYPE_SIZE, &text);
    if (status != SLIP_OK)
        return status;
    *dtype = slip_dtype_parse(text);
    if (*dtype < 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: /%s: dtype \"%s\" is unknown", source->path, name, text);
    free(text);
    return status;
}

slip_status slip_hdf5_read_dataset(const slip_hdf5_source *source, hid_t dataset, const char *name, hid_t plain, slip_dataset *out)
{
    bool typed = plain < 0;
    slip_dataset found = {.dtype = SLIP_F8E4M3}; /* plain bytes, where there is no dtype */
    snprintf(found.name, sizeof found.name, "%s", name);
    slip_status status = check_storage(source, dataset, name);
    if (status == SLIP_OK && typed)
        status = read_dtype(source, dataset, name, &found.dtype);
    if (status == SLIP_OK)
        status = check_type(source, dataset, name, typed ? slip_hdf5_type((slip_dtype)found.dtype) : plain);
    if (status == SLIP_OK)
        status = read_shape(source, dataset, name, &found);
    if (status == SLIP_OK)
        status = locate(source, dataset, typed ? slip_dtype_item_bytes((slip_dtype)found.dtype) : (int64_t)H5Tget_size(plain), &found);
    if (status == SLIP_OK)
        *out = found;
    return status;
}
