/* Every file that `convert` writes, read as h5dump and h5py do: by HDF5 alone, through the links of an index. Its values have the checksums
 * that stand beside them, so that none is missing, of another type or out of place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "io/checkpoint/checksum.h"
#include "jobs/convert/convert.h"
#include "tiny_checkpoint.h"

enum { MOST = 4096 };

/* Checksums of what was read, in the order of names. */
typedef struct {
    uint32_t at[MOST];
    int64_t count;
    int datasets;
} sums;

/* All of a dataset in its own type; the caller frees it. */
static unsigned char *read_all(hid_t dataset, int64_t *bytes)
{
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    *bytes = H5Sget_simple_extent_npoints(space) * (int64_t)H5Tget_size(type);
    unsigned char *data = malloc((size_t)*bytes + 1);
    if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        fail_msg("HDF5 does not read a dataset");
    H5Sclose(space);
    H5Tclose(type);
    return data;
}

static void add(sums *s, const unsigned char *data, int64_t bytes)
{
    assert_true(s->count + slip_checksum_blocks(bytes) < MOST);
    slip_checksum_make(data, bytes, s->at + s->count);
    s->count += slip_checksum_blocks(bytes);
}

static void add_dataset(sums *s, hid_t dataset)
{
    int64_t bytes;
    unsigned char *data = read_all(dataset, &bytes);
    add(s, data, bytes);
    s->datasets++;
    free(data);
}

static herr_t walk(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    (void)info;
    if (strcmp(name, "checksums") == 0 || strcmp(name, "tokenizer") == 0)
        return 0;
    hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    if (object < 0)
        fail_msg("HDF5 does not open %s", name);
    herr_t status = 0;
    if (H5Iget_type(object) == H5I_GROUP)
        status = H5Literate(object, H5_INDEX_NAME, H5_ITER_INC, NULL, walk, context);
    else
        add_dataset(context, object);
    H5Oclose(object);
    return status;
}

/* Returns how many datasets it has beside these two. */
static int check_file(const char *path)
{
    sums *s = calloc(1, sizeof *s);
    int64_t bytes;
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0)
        fail_msg("HDF5 does not open %s", path);
    assert_true(H5Aexists(file, "format") > 0 && H5Aexists(file, "version") > 0);
    assert_true(H5Literate(file, H5_INDEX_NAME, H5_ITER_INC, NULL, walk, s) >= 0);
    if (H5Lexists(file, "tokenizer", H5P_DEFAULT) > 0) {
        hid_t tokenizer = H5Dopen(file, "tokenizer", H5P_DEFAULT);
        add_dataset(s, tokenizer);
        H5Dclose(tokenizer);
    }
    hid_t dataset = H5Dopen(file, "checksums", H5P_DEFAULT);
    assert_true(dataset >= 0);
    unsigned char *stored = read_all(dataset, &bytes);
    add(s, (const unsigned char *)s->at, s->count * (int64_t)sizeof *s->at); /* the last one is of those before it */
    if (bytes != s->count * (int64_t)sizeof *s->at || memcmp(stored, s->at, (size_t)bytes) != 0)
        fail_msg("%s: HDF5 reads values that do not have their checksums", path);
    int datasets = s->datasets;
    free(stored);
    H5Dclose(dataset);
    assert_true(H5Fclose(file) >= 0);
    free(s);
    return datasets;
}

/* All files of a folder; returns how many there are. */
static int check_folder(const char *path)
{
    DIR *listed = opendir(path);
    int files = 0;
    assert_non_null(listed);
    for (struct dirent *entry; (entry = readdir(listed)) != NULL;) {
        char file[1024];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.')
            continue;
        assert_non_null(strstr(entry->d_name, ".h5"));
        assert_true(check_file(file) > 0);
        files++;
    }
    closedir(listed);
    return files;
}

static void check_layout(slip_comm *comm, const char *fixture, slip_convert_options options, int gpu_files)
{
    folder *at = folder_make();
    char from[128], model[256], beside[272];
    snprintf(from, sizeof from, "tests/golden/forward/fixtures/%s", fixture);
    snprintf(model, sizeof model, "%s", folder_join(at, "model.h5"));
    options.source_folder = from;
    options.out_path = model;
    options.comm = comm;
    options.quiet = true;
    if (slip_convert_run(&options) != SLIP_OK)
        fail_msg("%s", slip_cause());
    assert_true(check_file(model) > 10);
    snprintf(beside, sizeof beside, "%s.d", model);
    if (options.files == SLIP_CONVERT_LAYER_FILES)
        assert_true(check_folder(beside) >= 3);
    snprintf(beside, sizeof beside, "%s.gpu", model);
    if (gpu_files > 0)
        assert_int_equal(check_folder(beside), gpu_files);
    folder_remove(at);
}

static void test_files(void **state)
{
    slip_convert_options one = {.files = SLIP_CONVERT_ONE_FILE}, layers = {.files = SLIP_CONVERT_LAYER_FILES};
    check_layout(*state, "v2-flash-split-fp8", one, 0);
    check_layout(*state, "v2.6-fused-mxfp4", layers, 0);
    one.for_gpus = layers.for_gpus = 2;
    check_layout(*state, "hf-192-128-bf16", one, 2);
    check_layout(*state, "pro-split-bf16", layers, 4); /* with a drafter */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, tiny_comm_start, tiny_comm_finish);
}
