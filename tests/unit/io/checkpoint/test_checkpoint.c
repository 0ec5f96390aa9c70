/* A checkpoint written, read back and checked; then torn, altered and cut short on a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "io/checkpoint/checkpoint.h"
#include "tests/unit/support/folder.h"
#include "tests/unit/support/small_model.h"

static bool there(folder *f, const char *name)
{
    return access(folder_join(f, name), F_OK) == 0;
}

static void open_small(folder *f, slip_checkpoint *checkpoint)
{
    char path[256];
    snprintf(path, sizeof path, "%s", folder_join(f, "m.h5"));
    if (small_write(path) != SLIP_OK || slip_checkpoint_open(path, checkpoint) != SLIP_OK)
        fail_msg("%s", slip_cause());
}

static void test_round_trip(void **state)
{
    (void)state;
    folder *f = folder_make();
    slip_checkpoint checkpoint;
    slip_model model;
    open_small(f, &checkpoint);
    assert_false(there(f, "m.h5.partial"));
    assert_string_equal(checkpoint.config, small_config);
    assert_string_equal(checkpoint.draft_config, small_draft_config);
    assert_int_equal(checkpoint.tokenizer_size, strlen(small_tokenizer));
    assert_string_equal(checkpoint.tokenizer, small_tokenizer);
    assert_int_equal(slip_checkpoint_model(&checkpoint, "m.h5", &model), SLIP_OK);
    assert_true(model.has_draft && model.draft.mask_embedding);
    assert_string_equal(checkpoint.settings, small_settings);
    assert_true(model.sliding.window == 9 && model.eos_count == 2 && model.eos[1] == 7);
    assert_true(model.sampling.values.top_p == 0.5 && model.sampling.values.top_k == 4);
    assert_int_equal(model.sampling.given, 1u << SLIP_SAMPLING_INDEX_top_p | 1u << SLIP_SAMPLING_INDEX_top_k);
    size_t size;
    char *file = folder_read(folder_join(f, "m.h5"), &size);
    assert_int_equal(size, checkpoint.file_size);
    for (int32_t i = 0; i < checkpoint.dataset_count; i++) {
        const slip_dataset *dataset = &checkpoint.datasets[i];
        unsigned char *bytes = malloc((size_t)dataset->bytes);
        small_fill(dataset, bytes);
        assert_memory_equal(bytes, file + dataset->offset, (size_t)dataset->bytes);
        free(bytes);
    }
    free(file);
    const slip_dataset *gate = slip_checkpoint_find(&checkpoint, "target/layers/1/experts/gate");
    assert_true(gate->dtype == SLIP_MXFP4 && gate->dims == 3 && gate->shape[2] == 16 && gate->bytes == 3 * 32 * 16);
    const slip_dataset *scale = slip_checkpoint_find(&checkpoint, "target/layers/1/experts/gate_scale");
    assert_true(scale->dtype == SLIP_MXFP4 && scale->shape[2] == 1);
    assert_null(slip_checkpoint_find(&checkpoint, "target/layers/2/o"));
    slip_checkpoint_free(&checkpoint);
    folder_remove(f);
}

static void test_writes_are_equal(void **state)
{
    (void)state;
    folder *f = folder_make();
    size_t first_size, second_size;
    assert_int_equal(small_write(folder_join(f, "a.h5")), SLIP_OK);
    assert_int_equal(small_write(folder_join(f, "b.h5")), SLIP_OK);
    char *first = folder_read(folder_join(f, "a.h5"), &first_size);
    char *second = folder_read(folder_join(f, "b.h5"), &second_size);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    free(first);
    free(second);
    folder_remove(f);
}

static void test_never_overwrites(void **state)
{
    (void)state;
    folder *f = folder_make();
    folder_write(f, "m.h5.partial", "left by a conversion that was killed", 36);
    assert_int_equal(small_write(folder_join(f, "m.h5")), SLIP_OK);
    assert_int_equal(small_write(folder_join(f, "m.h5")), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "exists already"));
    slip_clear();
    assert_int_equal(small_write(folder_join(f, "no/such/folder/m.h5")), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "No such file or directory"));
    slip_clear();
    folder_remove(f);
}

static void test_uncommitted_leaves_nothing(void **state)
{
    (void)state;
    folder *f = folder_make();
    slip_checkpoint_writer *writer;
    slip_checkpoint_texts texts = {small_config, NULL, small_settings, NULL, 0, false};
    assert_int_equal(slip_checkpoint_create(folder_join(f, "m.h5"), &texts, &writer), SLIP_OK);
    assert_true(there(f, "m.h5.partial"));
    slip_checkpoint_writer_free(writer);
    assert_false(there(f, "m.h5.partial") || there(f, "m.h5"));
    char *large = calloc(60002, 1);
    memset(large, ' ', 60001);
    texts.config = large;
    assert_int_equal(slip_checkpoint_create(folder_join(f, "m.h5"), &texts, &writer), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "config of 60001 bytes"));
    slip_clear();
    free(large);
    folder_remove(f);
}

/* In a child of its own, whose limit dies with it. */
static void write_within(folder *f, size_t bytes)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {bytes, bytes};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        slip_status status = small_write(folder_join(f, "m.h5"));
        bool fine = status == SLIP_ERR_FAILED && strstr(slip_cause(), "File too large") != NULL;
        _exit(fine ? 0 : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    if (result != 0 || there(f, "m.h5") || there(f, "m.h5.partial"))
        fail_msg("a disk with room for %zu bytes: wait status %d", bytes, result);
}

/* Whatever write it is that fails: an error with its cause, and neither a file nor a part of one. */
static void test_full_disk(void **state)
{
    (void)state;
    folder *f = folder_make();
    size_t size;
    assert_int_equal(small_write(folder_join(f, "whole.h5")), SLIP_OK);
    free(folder_read(folder_join(f, "whole.h5"), &size));
    for (size_t bytes = 0; bytes < size; bytes += 911)
        write_within(f, bytes);
    folder_remove(f);
}

/* ---- damage ---- */

static bool same_table(const slip_checkpoint *a, const slip_checkpoint *b)
{
    return strcmp(a->config, b->config) == 0 && strcmp(a->draft_config, b->draft_config) == 0 && a->tokenizer_size == b->tokenizer_size &&
           a->dataset_count == b->dataset_count && memcmp(a->datasets, b->datasets, (size_t)a->dataset_count * sizeof *a->datasets) == 0;
}

/* A damaged file is refused by name, or the damage was where nothing is kept. */
static void check_damaged(folder *f, const char *file, size_t size, const slip_checkpoint *whole, size_t at)
{
    slip_checkpoint checkpoint;
    folder_write(f, "damaged.h5", file, size);
    slip_clear();
    slip_status status = slip_checkpoint_open(folder_join(f, "damaged.h5"), &checkpoint);
    if (status == SLIP_OK) {
        if (whole == NULL || !same_table(&checkpoint, whole))
            fail_msg("byte %zu: taken, and read differently", at);
        slip_checkpoint_free(&checkpoint);
    } else if (status != SLIP_ERR_INPUT || strstr(slip_cause(), "damaged.h5") == NULL) {
        fail_msg("byte %zu: status %d, \"%s\"", at, status, slip_cause());
    }
}

static void test_truncated_and_extended(void **state)
{
    (void)state;
    folder *f = folder_make();
    slip_checkpoint whole;
    size_t size;
    open_small(f, &whole);
    char *file = folder_read(folder_join(f, "m.h5"), &size);
    for (size_t keep = 0; keep < size; keep += keep < 64 ? 1 : 509)
        check_damaged(f, file, keep, NULL, keep);
    check_damaged(f, file, size - 1, NULL, size - 1);
    check_damaged(f, file, size + 1, NULL, size + 1); /* the reader's terminating NUL */
    slip_checkpoint_free(&whole);
    free(file);
    folder_remove(f);
}

static void test_flipped_bytes(void **state)
{
    (void)state;
    folder *f = folder_make();
    slip_checkpoint whole;
    size_t size;
    open_small(f, &whole);
    char *file = folder_read(folder_join(f, "m.h5"), &size);
    bool *data = calloc(size, sizeof *data); /* bytes of tensors carry no checksum */
    for (int32_t i = 0; i < whole.dataset_count; i++)
        memset(data + whole.datasets[i].offset, true, (size_t)whole.datasets[i].bytes);
    const size_t stride = getenv("QUICK") ? 53 : 11; /* both odd: every bit of a byte is met */
    for (size_t at = 0; at < size; at += at < 48 ? 1 : stride) {
        if (data[at] || memcmp(file + at, small_tokenizer, 1) == 0)
            continue;
        file[at] = (char)(file[at] ^ (1 << (at % 8)));
        check_damaged(f, file, size, at < 44 ? NULL : &whole, at);
        file[at] = (char)(file[at] ^ (1 << (at % 8)));
    }
    free(data);
    slip_checkpoint_free(&whole);
    free(file);
    folder_remove(f);
}

static void test_not_a_checkpoint(void **state)
{
    (void)state;
    folder *f = folder_make();
    slip_checkpoint checkpoint;
    static const struct {
        const char *path, *cause;
    } cases[] = {{"/dev/null", "not a regular file"}, {".", "not a regular file"}, {"no-such.h5", "No such file"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slip_clear();
        assert_int_equal(slip_checkpoint_open(cases[i].path, &checkpoint), SLIP_ERR_INPUT);
        assert_non_null(strstr(slip_cause(), cases[i].cause));
    }
    slip_clear();
    folder_write(f, "t.txt", small_config, sizeof small_config);
    assert_int_equal(slip_checkpoint_open(folder_join(f, "t.txt"), &checkpoint), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "not an HDF5 file"));
    slip_clear();
    folder_remove(f);
}

/* ---- the table against the config ---- */

static slip_dataset *row(slip_checkpoint *checkpoint, const char *name)
{
    slip_dataset *found = (slip_dataset *)slip_checkpoint_find(checkpoint, name);
    assert_non_null(found);
    return found;
}

static void refuse_table(const slip_checkpoint *checkpoint, const char *defect, const char *cause)
{
    slip_model untouched = {.hidden = 7}, model = untouched;
    slip_clear();
    slip_status status = slip_checkpoint_model(checkpoint, "m.h5", &model);
    if (status != SLIP_ERR_INPUT || strstr(slip_cause(), cause) == NULL || memcmp(&model, &untouched, sizeof model) != 0)
        fail_msg("%s: status %d, \"%s\"", defect, status, slip_cause());
    slip_clear();
}

#define REFUSE(defect, name, change, cause) \
    do { \
        slip_dataset *d = row(&checkpoint, name), kept = *d; \
        change; \
        refuse_table(&checkpoint, defect, cause); \
        *d = kept; \
    } while (0)

static void test_tables(void **state)
{
    (void)state;
    folder *f = folder_make();
    slip_checkpoint checkpoint;
    slip_model model;
    open_small(f, &checkpoint);
    REFUSE("SHAPE", "target/layers/0/o", d->shape[1]++, "/target/layers/0/o: shape [32, 9], but its config asks for [32, 8]");
    REFUSE("SHAPE_NEGATIVE", "target/layers/0/o", d->shape[0] = -32, "shape [-32, 8]");
    REFUSE("SHAPE_WRAPS", "target/layers/0/o", d->shape[0] = INT64_MAX, "/target/layers/0/o: shape [");
    REFUSE("DIMS", "target/layers/0/o", d->dims = 3, "/target/layers/0/o: shape");
    REFUSE("DIMS_HUGE", "target/layers/0/o", d->dims = INT32_MAX, "/target/layers/0/o: shape");
    REFUSE("DIMS_NEGATIVE", "target/norm", d->dims = -1, "/target/norm: shape");
    REFUSE("BYTES", "target/norm", d->bytes--, "/target/norm: 63 bytes");
    REFUSE("OFFSET_NEGATIVE", "target/norm", d->offset = -1, "bytes at -1");
    REFUSE("OFFSET_PAST_END", "target/norm", d->offset = checkpoint.file_size - 63, "/target/norm: 64 bytes at");
    REFUSE("OFFSET_WRAPS", "target/norm", d->offset = INT64_MAX, "/target/norm: 64 bytes at");
    REFUSE("DTYPE_UNKNOWN", "target/norm", d->dtype = 4, "dtype 4 is unknown");
    REFUSE("DTYPE_NEGATIVE", "target/norm", d->dtype = -1, "dtype -1 is unknown");
    REFUSE("DTYPE_NOT_ALLOWED", "target/embed", d->dtype = SLIP_MXFP4, "/target/embed: cannot be of dtype mxfp4");
    REFUSE("DTYPE_OF_SCALE", "target/layers/0/o_scale", d->dtype = SLIP_BF16, "/target/layers/0/o_scale: dtype is not f32");
    REFUSE("SCALE_SHAPE", "target/layers/1/experts/up_scale", d->shape[2] = 2, "/target/layers/1/experts/up_scale: shape");
    REFUSE("SCALE_MISSING", "target/layers/0/o_scale", d->name[17] = 'd', "/target/layers/0/o_scale is missing");
    REFUSE("MISSING", "target/norm", d->name[10] = 'z', "/target/norm is missing");
    REFUSE("SCALE_TO_SPARE", "target/layers/0/q", (d->dtype = SLIP_F32, d->bytes *= 4), "q_scale is not a dataset that");
    REFUSE("DUPLICATE", "target/norm", d[0] = d[-1], "given twice");
    REFUSE("OUT_OF_ORDER", "target/norm", d->name[0] = 'a', "given twice or out of order");
    REFUSE("NAME_DOES_NOT_END", "target/norm", memset(d->name, 't', sizeof d->name), "its name does not end");
    REFUSE("MASK_SHAPE", "draft/mask_embedding", d->shape[0] = 31, "/draft/mask_embedding: shape [31]");
    assert_int_equal(slip_checkpoint_model(&checkpoint, "m.h5", &model), SLIP_OK);
    char *draft = checkpoint.draft_config;
    checkpoint.draft_config = NULL;
    refuse_table(&checkpoint, "DRAFT_WITHOUT_CONFIG", "/draft/fc is not a dataset that its config asks for");
    checkpoint.draft_config = draft;
    checkpoint.config[0] = '[';
    refuse_table(&checkpoint, "CONFIG", "m.h5, config: line 1");
    checkpoint.config[0] = '{';
    checkpoint.draft_config[0] = '[';
    refuse_table(&checkpoint, "DRAFT_CONFIG", "m.h5, draft_config: line 1");
    int32_t count = checkpoint.dataset_count;
    checkpoint.draft_config[0] = '{';
    checkpoint.dataset_count = 0;
    refuse_table(&checkpoint, "NO_DATASETS", "/target/embed is missing");
    checkpoint.dataset_count = count;
    slip_checkpoint_free(&checkpoint);
    folder_remove(f);
}

static void test_dtype_names(void **state)
{
    (void)state;
    for (int dtype = 0; dtype < SLIP_DTYPES; dtype++)
        assert_int_equal(slip_dtype_parse(slip_dtype_name((slip_dtype)dtype)), dtype);
    assert_int_equal(slip_dtype_parse("F32"), -1);
    assert_int_equal(slip_dtype_parse(""), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_writes_are_equal),
        cmocka_unit_test(test_never_overwrites),
        cmocka_unit_test(test_uncommitted_leaves_nothing),
        cmocka_unit_test(test_truncated_and_extended),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_not_a_checkpoint),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_dtype_names),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
