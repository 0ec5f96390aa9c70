/* An index with a file a layer, spoilt: links that lead elsewhere, in a circle or nowhere, layers that are missing, another model's, another
 * layer's, cut, no files at all, or damaged in one byte. Each is refused by the name of the file that is at fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <hdf5.h>
#include <math.h>

#include "io/checkpoint/checksum.h"
#include "convert_source.h"

#define LAYER_0 "m.h5.d/layer-000.h5"
#define LAYER_1 "m.h5.d/layer-001.h5"
#define DRAFT "m.h5.d/draft.h5"

/* An index of a model with a drafter and two layers; `number` makes its weights its own. */
static source make_index(unsigned char number)
{
    source s = make_source("BF16", "F8_E4M3");
    char out[256];
    add_draft(&s, "");
    *(unsigned char *)source_bytes(s.target, "model.layers.0.self_attn.o_proj.weight") = number;
    *(unsigned char *)source_bytes(s.target, "model.layers.1.self_attn.o_proj.weight") = number;
    save(s.target, s.at, "model.safetensors");
    snprintf(out, sizeof out, "%s", folder_join(s.at, "m.h5"));
    slip_convert_options options = {.source_folder = s.at->path, .out_path = out, .files = SLIP_CONVERT_LAYER_FILES, .quiet = true};
    if (slip_convert_run(&options) != SLIP_OK)
        fail_msg("%s", slip_cause());
    return s;
}

/* Opened as every run opens it: the files' own tables, then against the config. */
static slip_status open_whole(source *s)
{
    char path[256];
    slip_checkpoint checkpoint;
    slip_model model;
    snprintf(path, sizeof path, "%s", folder_join(s->at, "m.h5"));
    slip_clear();
    slip_status status = slip_checkpoint_open(path, &checkpoint);
    if (status != SLIP_OK)
        return status;
    status = slip_checkpoint_model(&checkpoint, path, &model);
    slip_checkpoint_free(&checkpoint);
    return status;
}

static void refuse(source *s, const char *defect, const char *at, const char *cause)
{
    slip_status status = open_whole(s);
    if (status != SLIP_ERR_INPUT || strstr(slip_cause(), at) == NULL || strstr(slip_cause(), cause) == NULL)
        fail_msg("%s: status %d, \"%s\"; expected \"%s\" and \"%s\"", defect, status, slip_cause(), at, cause);
    slip_clear();
    drop_source(s);
}

/* ---- links ---- */

static hid_t open_file(source *s, const char *name)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    hid_t opened = H5Fopen(folder_join(s->at, name), H5F_ACC_RDWR, access);
    H5Pclose(access);
    assert_true(opened >= 0);
    return opened;
}

static void relink(source *s, const char *name, const char *to, const char *object)
{
    hid_t index = open_file(s, "m.h5");
    assert_true(H5Ldelete(index, name, H5P_DEFAULT) >= 0);
    if (to != NULL)
        assert_true(H5Lcreate_external(to, object, index, name, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    assert_true(H5Fclose(index) >= 0);
}

static void test_links(void **state)
{
    (void)state;
    static const struct {
        const char *defect, *name, *to, *object, *cause;
    } cases[] = {
        {"NOWHERE", "target/layers/0", "m.h5.d/layer-009.h5", "/target/layers/0", "links to m.h5.d/layer-009.h5; only " LAYER_0},
        {"ANOTHER_LAYER", "target/layers/0", LAYER_1, "/target/layers/0", "links to " LAYER_1 "; only " LAYER_0},
        {"ANOTHER_OBJECT", "target/layers/0", LAYER_0, "/target/layers/1",
         "/target/layers/0: an external link that is not to the file of a"},
        {"ITSELF", "target/layers/0", "m.h5", "/target/layers/0", "links to m.h5; only " LAYER_0},
        {"ITSELF_WHOLE", "target/layers/0", "m.h5", "/", "an external link that is not to the file of a layer"},
        {"ABSOLUTE", "target/layers/0", "/etc/passwd", "/target/layers/0", "links to /etc/passwd; only " LAYER_0},
        {"UPWARDS", "target/layers/0", "../m.h5.d/layer-000.h5", "/target/layers/0", "links to ../m.h5.d/layer-000.h5; only"},
        {"LAYER_WITHOUT_LINK", "target/layers/1", NULL, NULL, "/target/layers/1/attn_norm is missing"},
        {"DRAFT_WITHOUT_LINK", "draft", NULL, NULL, "/draft/fc is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        source s = make_index(1);
        relink(&s, cases[i].name, cases[i].to, cases[i].object);
        refuse(&s, cases[i].defect, "m.h5: ", cases[i].cause);
    }
}

static void test_links_of_a_layer(void **state)
{
    (void)state;
    source s = make_index(1);
    hid_t layer = open_file(&s, LAYER_0);
    assert_true(H5Lcreate_external("../m.h5", "/target", layer, "target/layers/0/circle", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Fclose(layer);
    refuse(&s, "BACK_TO_THE_INDEX", LAYER_0, "/target/layers/0/circle: a soft, external or user-defined link");

    s = make_index(1);
    layer = open_file(&s, LAYER_0);
    assert_true(H5Lcreate_hard(layer, "/", layer, "target/layers/0/circle", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Fclose(layer);
    refuse(&s, "A_CIRCLE_OF_GROUPS", LAYER_0, "");

    s = make_index(1);
    layer = open_file(&s, LAYER_0);
    assert_true(H5Ldelete(layer, "target/layers/0/o", H5P_DEFAULT) >= 0);
    H5Fclose(layer);
    refuse(&s, "A_DATASET_TOO_FEW", LAYER_0 ": ", "/target/layers/0/o is missing");

    s = make_index(1);
    hid_t index = open_file(&s, "m.h5");
    assert_true(H5Lcreate_external("m.h5.d/layer-002.h5", "/target/layers/2", index, "target/layers/2", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Fclose(index);
    refuse(&s, "A_LAYER_TOO_MANY", "m.h5.d/layer-002.h5", "No such file or directory");
}

/* ---- files ---- */

static void put_file(source *s, const char *name, source *from, const char *other)
{
    size_t size;
    char *bytes = folder_read(folder_join(from->at, other), &size);
    folder_write(s->at, name, bytes, size);
    free(bytes);
}

static void test_files(void **state)
{
    (void)state;
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    source s = make_index(1);
    assert_int_equal(unlink(folder_join(s.at, LAYER_1)), 0);
    refuse(&s, "LAYER_MISSING", LAYER_1, "No such file or directory");

    s = make_index(1);
    assert_int_equal(unlink(folder_join(s.at, LAYER_1)), 0);
    assert_int_equal(mkfifo(folder_join(s.at, LAYER_1), 0600), 0);
    refuse(&s, "LAYER_A_FIFO", LAYER_1, "Is a FIFO");

    s = make_index(1);
    folder_write(s.at, LAYER_1, lfs, sizeof lfs - 1);
    refuse(&s, "LAYER_A_GIT_LFS_POINTER", LAYER_1, "is a Git LFS pointer");

    s = make_index(1);
    folder_write(s.at, DRAFT, "", 0);
    refuse(&s, "DRAFT_EMPTY", DRAFT, "");

    s = make_index(1);
    put_file(&s, LAYER_1, &s, LAYER_0);
    refuse(&s, "ANOTHER_LAYER", LAYER_1, "group is \"target/layers/0\", not \"target/layers/1\"");

    s = make_index(1);
    put_file(&s, LAYER_1, &s, "m.h5");
    refuse(&s, "THE_INDEX_ITSELF", LAYER_1, "format is \"slipstream\", not \"slipstream-part\"");

    s = make_index(1);
    put_file(&s, "m.h5", &s, LAYER_1);
    refuse(&s, "A_LAYER_FOR_INDEX", "m.h5", "format is \"slipstream-part\", not \"slipstream\"");
}

/* The same shapes, other weights: only checksums tell them apart. */
static void test_another_model(void **state)
{
    (void)state;
    source s = make_index(1), other = make_index(2);
    put_file(&s, LAYER_1, &other, LAYER_1);
    refuse(&s, "LAYER_OF_ANOTHER_MODEL", LAYER_1, "it is of another model");
    s = make_index(1);
    put_file(&s, "m.h5", &other, "m.h5");
    refuse(&s, "INDEX_OF_ANOTHER_MODEL", LAYER_0, "it is of another model");
    drop_source(&other);
}

static void test_cut(void **state)
{
    (void)state;
    source s = make_index(1);
    size_t size;
    char *whole = folder_read(folder_join(s.at, LAYER_1), &size);
    for (size_t keep = 0; keep < size; keep += keep < 100 ? 9 : 997) {
        folder_write(s.at, LAYER_1, whole, keep);
        slip_status status = open_whole(&s);
        if (status != SLIP_ERR_INPUT || strstr(slip_cause(), LAYER_1) == NULL)
            fail_msg("cut at %zu: status %d, \"%s\"", keep, status, slip_cause());
    }
    slip_clear();
    free(whole);
    drop_source(&s);
}

/* ---- one bit ---- */

/* Read all of it as ranks do. */
static slip_status read_all(source *s)
{
    char path[256];
    slip_checkpoint checkpoint;
    slip_checkpoint_files files = {0};
    snprintf(path, sizeof path, "%s", folder_join(s->at, "m.h5"));
    slip_clear();
    slip_status status = slip_checkpoint_open(path, &checkpoint);
    if (status != SLIP_OK)
        return status;
    status = slip_checkpoint_files_open(&checkpoint, path, &files);
    for (int32_t i = 0; i < checkpoint.dataset_count && status == SLIP_OK; i++) {
        char *bytes = malloc((size_t)checkpoint.datasets[i].bytes);
        status = slip_checksum_read(&checkpoint, &files, &checkpoint.datasets[i], bytes);
        free(bytes);
    }
    slip_checkpoint_files_close(&files);
    slip_checkpoint_free(&checkpoint);
    return status;
}

static void flip(const char *path, int64_t at)
{
    int opened = open(path, O_RDWR);
    unsigned char byte;
    assert_int_equal(pread(opened, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(opened, &byte, 1, at), 1);
    close(opened);
}

static void flip_in(source *s, const slip_checkpoint *checkpoint, const slip_dataset *dataset)
{
    char path[256];
    const char *group = dataset->file > 0 ? checkpoint->parts[dataset->file - 1].group : "";
    const char *name = dataset->file == 0                      ? "m.h5"
                       : strcmp(group, "draft") == 0           ? DRAFT
                       : strcmp(group, "target/layers/0") == 0 ? LAYER_0
                                                               : LAYER_1;
    snprintf(path, sizeof path, "%s", folder_join(s->at, name));
    int64_t at = dataset->offset + dataset->bytes / 2;
    flip(path, at);
    slip_status status = read_all(s);
    if (status != SLIP_ERR_INPUT || strstr(slip_cause(), name) == NULL || strstr(slip_cause(), dataset->name) == NULL)
        fail_msg("a bit of /%s: status %d, \"%s\"", dataset->name, status, slip_cause());
    flip(path, at);
}

static void test_flipped_bits(void **state)
{
    (void)state;
    source s = make_index(1);
    slip_checkpoint checkpoint;
    assert_int_equal(read_all(&s), SLIP_OK);
    assert_int_equal(slip_checkpoint_open(folder_join(s.at, "m.h5"), &checkpoint), SLIP_OK);
    assert_int_equal(checkpoint.part_count, 3);
    for (int32_t i = 0; i < checkpoint.dataset_count; i++)
        flip_in(&s, &checkpoint, &checkpoint.datasets[i]);
    assert_int_equal(read_all(&s), SLIP_OK);
    slip_clear();
    slip_checkpoint_free(&checkpoint);
    drop_source(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links), cmocka_unit_test(test_links_of_a_layer),
        cmocka_unit_test(test_files), cmocka_unit_test(test_another_model),
        cmocka_unit_test(test_cut),   cmocka_unit_test(test_flipped_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
