/* HDF5 files that HDF5 itself would take and a checkpoint must not be: each made by one alteration of a good
 * one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <hdf5.h>

#include "io/checkpoint/checkpoint.h"
#include "tests/unit/support/folder.h"
#include "tests/unit/support/small_model.h"

static const float zeros[64];

/* ---- makers ---- */

typedef struct {
    hid_t creation; /* of the dataset, or H5P_DEFAULT */
    hid_t type;
    int dims;
    hsize_t shape[4], most[4];
} maker;

static maker plain(void)
{
    return (maker){H5Pcreate(H5P_DATASET_CREATE), H5T_IEEE_F32LE, 1, {32}, {32}};
}

static void add_text(hid_t object, const char *name, const char *text, size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    char padded[64] = {0};
    snprintf(padded, sizeof padded, "%s", text);
    H5Tset_size(type, size);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0 && H5Awrite(attribute, type, padded) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

/* Put a dataset in the place of target/norm. `dtype` NULL leaves the attribute away. */
static void replace_norm(hid_t file, const maker *m, const char *dtype)
{
    hid_t space = H5Screate_simple(m->dims, m->shape, m->most);
    assert_true(H5Ldelete(file, "target/norm", H5P_DEFAULT) >= 0);
    hid_t dataset = H5Dcreate2(file, "target/norm", m->type, space, H5P_DEFAULT, m->creation, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros);
    if (dtype != NULL)
        add_text(dataset, "dtype", dtype, strlen(dtype));
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(m->creation);
}

/* ---- alterations ---- */

static void chunked(hid_t file)
{
    maker m = plain();
    H5Pset_chunk(m.creation, 1, m.shape);
    replace_norm(file, &m, "f32");
}

static void filtered(hid_t file)
{
    maker m = plain();
    H5Pset_chunk(m.creation, 1, m.shape);
    H5Pset_shuffle(m.creation);
    replace_norm(file, &m, "f32");
}

static void compact(hid_t file)
{
    maker m = plain();
    H5Pset_layout(m.creation, H5D_COMPACT);
    replace_norm(file, &m, "f32");
}

static void growing(hid_t file)
{
    maker m = plain();
    m.most[0] = H5S_UNLIMITED;
    H5Pset_chunk(m.creation, 1, m.shape);
    replace_norm(file, &m, "f32");
}

static void elsewhere(hid_t file)
{
    maker m = plain();
    H5Pset_external(m.creation, "/etc/passwd", 0, 128);
    replace_norm(file, &m, "f32");
}

static void unallocated(hid_t file)
{
    maker m = plain();
    H5Pset_alloc_time(m.creation, H5D_ALLOC_TIME_LATE);
    hid_t space = H5Screate_simple(1, m.shape, NULL);
    H5Ldelete(file, "target/norm", H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, "target/norm", m.type, space, H5P_DEFAULT, m.creation, H5P_DEFAULT);
    add_text(dataset, "dtype", "f32", 3);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(m.creation);
}

static void doubles(hid_t file)
{
    maker m = plain();
    m.type = H5T_IEEE_F64LE;
    replace_norm(file, &m, "f32");
}

static void big_endian(hid_t file)
{
    maker m = plain();
    m.type = H5T_IEEE_F32BE;
    replace_norm(file, &m, "f32");
}

static void four_dimensions(hid_t file)
{
    maker m = plain();
    m.dims = 4;
    for (int i = 0; i < 4; i++)
        m.shape[i] = m.most[i] = 2;
    replace_norm(file, &m, "f32");
}

static void empty(hid_t file)
{
    maker m = plain();
    m.shape[0] = m.most[0] = 0;
    replace_norm(file, &m, "f32");
}

static void no_dtype(hid_t file)
{
    maker m = plain();
    replace_norm(file, &m, NULL);
}

static void odd_dtype(hid_t file)
{
    maker m = plain();
    replace_norm(file, &m, "int3");
}

static void long_dtype(hid_t file)
{
    maker m = plain();
    replace_norm(file, &m, "f32 and much more");
}

static void soft_link(hid_t file)
{
    H5Lcreate_soft("/target/norm", file, "target/again", H5P_DEFAULT, H5P_DEFAULT);
}

static void external_link(hid_t file)
{
    H5Lcreate_external("/etc/passwd", "/", file, "target/other", H5P_DEFAULT, H5P_DEFAULT);
}

static void second_name(hid_t file)
{
    H5Lcreate_hard(file, "target/norm", file, "target/norm_again", H5P_DEFAULT, H5P_DEFAULT);
}

static void group_cycle(hid_t file)
{
    H5Lcreate_hard(file, "target", file, "target/target", H5P_DEFAULT, H5P_DEFAULT);
}

static void odd_name(hid_t file)
{
    H5Lmove(file, "target/norm", file, "target/NORM \n", H5P_DEFAULT, H5P_DEFAULT);
}

static void long_name(hid_t file)
{
    char name[128] = "target/";
    memset(name + 7, 'n', 100);
    H5Lmove(file, "target/norm", file, name, H5P_DEFAULT, H5P_DEFAULT);
}

static void named_type(hid_t file)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tcommit2(file, "target/type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Tclose(type);
}

static void dense_group(hid_t file)
{
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_link_phase_change(creation, 0, 0);
    hid_t group = H5Gcreate2(file, "extra", H5P_DEFAULT, creation, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(group, "one", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(group);
    H5Pclose(creation);
}

static void other_format(hid_t file)
{
    H5Adelete(file, "format");
    add_text(file, "format", "something else", 16);
}

static void no_format(hid_t file)
{
    H5Adelete(file, "format");
}

static void variable_config(hid_t file)
{
    const char *text = small_config;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    H5Adelete(file, "config");
    hid_t attribute = H5Acreate2(file, "config", type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, &text);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

static void set_version(hid_t file, int32_t version)
{
    hid_t attribute = H5Aopen(file, "version", H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT32, &version);
    H5Aclose(attribute);
}

static void later_version(hid_t file)
{
    set_version(file, SLIP_CHECKPOINT_VERSION + 1);
}

static void no_checksums(hid_t file)
{
    H5Ldelete(file, "checksums", H5P_DEFAULT);
}

static void no_settings(hid_t file)
{
    H5Adelete(file, "settings");
}

/* What version 1 was. */
static void old_version(hid_t file)
{
    no_checksums(file);
    no_settings(file);
    set_version(file, 1);
}

static void text_version(hid_t file)
{
    H5Adelete(file, "version");
    add_text(file, "version", "1", 1);
}

static void tokenizer_square(hid_t file)
{
    hsize_t shape[2] = {2, 2};
    hid_t space = H5Screate_simple(2, shape, NULL);
    H5Ldelete(file, "tokenizer", H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, "tokenizer", H5T_STD_U8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros);
    H5Dclose(dataset);
    H5Sclose(space);
}

static const struct {
    void (*alter)(hid_t file);
    const char *defect, *cause;
} alterations[] = {
    {chunked, "CHUNKED", "/target/norm: not stored contiguously"},
    {filtered, "FILTERED", "/target/norm: not stored contiguously"},
    {compact, "COMPACT", "/target/norm: not stored contiguously"},
    {growing, "GROWING", "/target/norm: not stored contiguously"},
    {elsewhere, "EXTERNAL_FILE", "/target/norm: stored in another file"},
    {unallocated, "UNALLOCATED", "/target/norm: 128 bytes at -1"},
    {doubles, "DOUBLES", "/target/norm: its elements are not of the type"},
    {big_endian, "BIG_ENDIAN", "/target/norm: its elements are not of the type"},
    {four_dimensions, "FOUR_DIMENSIONS", "/target/norm: not an array of one to three dimensions"},
    {empty, "EMPTY", "/target/norm: a dimension is empty"},
    {no_dtype, "NO_DTYPE", "/target/norm: attribute dtype is missing"},
    {odd_dtype, "ODD_DTYPE", "/target/norm: dtype \"int3\" is unknown"},
    {long_dtype, "LONG_DTYPE", "/target/norm: attribute dtype has 17 bytes"},
    {soft_link, "SOFT_LINK", "/target/again: a soft, external or user-defined link"},
    {external_link, "EXTERNAL_LINK", "/target/other: a soft, external or user-defined link"},
    {second_name, "SECOND_NAME", "overlaps /target/norm"},
    {group_cycle, "GROUP_CYCLE", "nested too deeply"},
    {odd_name, "ODD_NAME", "a name in group /target/ is too long or has odd characters"},
    {long_name, "LONG_NAME", "a name in group /target/ is too long or has odd characters"},
    {named_type, "NAMED_TYPE", "/target/type: neither a group nor a dataset"},
    {dense_group, "DENSE_GROUP", "/extra: its links are not kept in its header"},
    {other_format, "OTHER_FORMAT", "format is \"something else\""},
    {no_format, "NO_FORMAT", "attribute format is missing"},
    {variable_config, "VARIABLE_CONFIG", "attribute config is not one string of fixed size"},
    {later_version, "LATER_VERSION", "version 4 of the format"},
    {no_checksums, "NO_CHECKSUMS", "/checksums: it is missing"},
    {no_settings, "NO_SETTINGS", "attribute settings is missing"},
    {text_version, "TEXT_VERSION", "attribute version is not one integer"},
    {tokenizer_square, "TOKENIZER_SQUARE", "/tokenizer: it is not one row"},
};

static void refuse(folder *f, const char *defect, const char *cause)
{
    slip_checkpoint checkpoint;
    slip_clear();
    slip_status status = slip_checkpoint_open(folder_join(f, "m.h5"), &checkpoint);
    if (status != SLIP_ERR_INPUT || strstr(slip_cause(), cause) == NULL)
        fail_msg("%s: status %d, \"%s\"", defect, status, slip_cause());
    slip_clear();
}

/* A small checkpoint, altered. */
static folder *make_altered(void (*alter)(hid_t file))
{
    folder *f = folder_make();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    assert_int_equal(small_write(folder_join(f, "m.h5")), SLIP_OK);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    hid_t file = H5Fopen(folder_join(f, "m.h5"), H5F_ACC_RDWR, access);
    assert_true(file >= 0);
    alter(file);
    assert_true(H5Fclose(file) >= 0);
    H5Pclose(access);
    return f;
}

static void test_old_version(void **state)
{
    (void)state;
    folder *f = make_altered(old_version);
    slip_checkpoint checkpoint;
    slip_model model;
    if (slip_checkpoint_open(folder_join(f, "m.h5"), &checkpoint) != SLIP_OK)
        fail_msg("%s", slip_cause());
    assert_int_equal(slip_checkpoint_model(&checkpoint, "m.h5", &model), SLIP_OK);
    assert_true(checkpoint.version == 1 && checkpoint.checksums == NULL && checkpoint.settings == NULL);
    assert_true(model.sliding.window == 8 && model.eos_count == 1 && model.sampling.given == 0); /* the config's */
    slip_checkpoint_free(&checkpoint);
    folder_remove(f);
}

static void test_alterations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof alterations / sizeof *alterations; i++) {
        folder *f = make_altered(alterations[i].alter);
        refuse(f, alterations[i].defect, alterations[i].cause);
        folder_remove(f);
    }
}

static void test_other_files(void **state)
{
    (void)state;
    folder *f = folder_make();
    hid_t file = H5Fcreate(folder_join(f, "m.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    refuse(f, "OLD_SUPERBLOCK", "superblock version 0");
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    file = H5Fcreate(folder_join(f, "m.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Fclose(file);
    refuse(f, "NOT_OURS", "attribute format is missing");
    H5Pset_userblock(creation, 512);
    file = H5Fcreate(folder_join(f, "m.h5"), H5F_ACC_TRUNC, creation, access);
    H5Fclose(file);
    refuse(f, "USER_BLOCK", "not an HDF5 file");
    H5Pclose(creation);
    H5Pclose(access);
    folder_remove(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alterations),
        cmocka_unit_test(test_old_version),
        cmocka_unit_test(test_other_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
