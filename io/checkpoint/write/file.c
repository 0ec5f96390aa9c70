#include "io/checkpoint/write/file.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ranks/model/weights.h"

/* Small datasets stay packed: the demo's file must not bloat. */
enum { ALIGN_FROM = 64 << 10, ALIGN_TO = 4096 };

bool slip_hdf5_write_string(hid_t object, const char *name, const char *text, size_t size)
{
    bool fine = false;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), attribute = -1;
    char *padded = calloc(size, 1);
    if (type >= 0 && space >= 0 && padded != NULL && H5Tset_size(type, size) >= 0 && H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0) {
        memcpy(padded, text, strlen(text) < size ? strlen(text) : size);
        attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        fine = attribute >= 0 && H5Awrite(attribute, type, padded) >= 0;
    }
    free(padded);
    fine = (attribute < 0 || H5Aclose(attribute) >= 0) && fine;
    H5Sclose(space);
    H5Tclose(type);
    return fine;
}

bool slip_hdf5_write_version(hid_t object, int32_t version)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, "version", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool fine = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT32, &version) >= 0;
    fine = (attribute < 0 || H5Aclose(attribute) >= 0) && fine;
    H5Sclose(space);
    return fine;
}

/* Properties of a group, the root's among them. Links stay in the group's own header, which has a checksum:
 * HDF5 1.10 crashes on damaged heaps of links, and the reader refuses them. Times would make two conversions
 * of one model differ. */
static bool set_group(hid_t creation)
{
    return H5Pset_link_phase_change(creation, UINT16_MAX, 0) >= 0 && H5Pset_obj_track_times(creation, false) >= 0;
}

hid_t slip_hdf5_create(const char *path)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE), file = -1;
    if (H5Pset_alignment(access, ALIGN_FROM, ALIGN_TO) >= 0 && H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
        set_group(creation))
        file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    H5Pclose(creation);
    H5Pclose(access);
    return file;
}

bool slip_hdf5_make_groups(hid_t file, const char *name)
{
    char path[SLIP_WEIGHT_NAME];
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
    bool fine = set_group(creation);
    snprintf(path, sizeof path, "%s", name);
    for (char *slash = strchr(path, '/'); slash != NULL && fine; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (H5Lexists(file, path, H5P_DEFAULT) <= 0) {
            hid_t group = H5Gcreate2(file, path, H5P_DEFAULT, creation, H5P_DEFAULT);
            fine = group >= 0 && H5Gclose(group) >= 0;
        }
        *slash = '/';
    }
    H5Pclose(creation);
    return fine;
}

bool slip_hdf5_reserve(hid_t file, const char *name, hid_t type, int dims, const hsize_t *shape, const char *dtype, int64_t *offset)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(dims, shape, NULL), dataset = -1;
    haddr_t address = HADDR_UNDEF;
    H5Pset_layout(creation, H5D_CONTIGUOUS);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(creation, false);
    if (slip_hdf5_make_groups(file, name))
        dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    bool fine = dataset >= 0;
    if (fine) {
        fine = dtype == NULL || slip_hdf5_write_string(dataset, "dtype", dtype, SLIP_CHECKPOINT_DTYPE_SIZE);
        address = H5Dget_offset(dataset);
        fine = H5Dclose(dataset) >= 0 && fine && address != HADDR_UNDEF && address <= INT64_MAX;
    }
    H5Sclose(space);
    H5Pclose(creation);
    if (fine)
        *offset = (int64_t)address;
    return fine;
}
