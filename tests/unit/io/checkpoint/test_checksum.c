/* Reading datasets with their checksums: all is what was written, and a flipped bit is found by whoever reads its block, and by nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <hdf5.h>

#include "io/checkpoint/checksum.h"
#include "tests/unit/support/folder.h"
#include "tests/unit/support/small_model.h"

enum { BLOCK = SLIP_CHECKSUM_BLOCK, ROWS = 3 * BLOCK / 32 + 5 }; /* of 32 bf16: six blocks and a rest */

typedef struct {
    folder *at;
    char path[256];
    unsigned char *data;
    slip_checkpoint checkpoint;
    slip_checkpoint_files files;
} scene;

static const slip_dataset big = {.name = "target/big", .dtype = SLIP_BF16, .dims = 2, .shape = {ROWS, 32}, .bytes = ROWS * 64};
static const slip_dataset small = {.name = "draft/small", .dtype = SLIP_F32, .dims = 1, .shape = {3}, .bytes = 12};

static scene *make(void)
{
    scene *s = calloc(1, sizeof *s);
    s->at = folder_make();
    s->data = malloc((size_t)big.bytes);
    for (int64_t i = 0; i < big.bytes; i++)
        s->data[i] = (unsigned char)(i * 31 + i / 1000);
    snprintf(s->path, sizeof s->path, "%s", folder_join(s->at, "m.h5"));
    const slip_checkpoint_texts texts = {small_config, NULL, small_settings, small_tokenizer, strlen(small_tokenizer), false};
    slip_checkpoint_writer *writer;
    assert_int_equal(slip_checkpoint_create(s->path, &texts, &writer), SLIP_OK);
    assert_int_equal(slip_checkpoint_add(writer, &big, s->data), SLIP_OK);
    assert_int_equal(slip_checkpoint_add(writer, &small, "abcdefghijkl"), SLIP_OK);
    assert_int_equal(slip_checkpoint_commit(writer), SLIP_OK);
    slip_checkpoint_writer_free(writer);
    return s;
}

static slip_status open_it(scene *s)
{
    slip_clear();
    slip_status status = slip_checkpoint_open(s->path, &s->checkpoint);
    if (status == SLIP_OK)
        status = slip_checkpoint_files_open(&s->checkpoint, s->path, &s->files);
    return status;
}

static void close_it(scene *s)
{
    slip_checkpoint_files_close(&s->files);
    slip_checkpoint_free(&s->checkpoint);
}

static void drop(scene *s)
{
    folder_remove(s->at);
    free(s->data);
    free(s);
}

/* Flip a bit of the file. */
static void flip(scene *s, int64_t at)
{
    int file = open(s->path, O_RDWR);
    unsigned char byte;
    assert_int_equal(pread(file, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    close(file);
}

static slip_status read_whole(scene *s)
{
    const slip_dataset *dataset = slip_checkpoint_find(&s->checkpoint, big.name);
    unsigned char *out = malloc((size_t)big.bytes);
    slip_status status = slip_checksum_read(&s->checkpoint, &s->files, dataset, out);
    if (status == SLIP_OK)
        assert_memory_equal(out, s->data, (size_t)big.bytes);
    free(out);
    return status;
}

/* The first damaged byte of the blocks [first, end), as they are on the disk. */
static int64_t find_damage(scene *s, int64_t first, int64_t end)
{
    const slip_dataset *dataset = slip_checkpoint_find(&s->checkpoint, big.name);
    int64_t bytes = (end * BLOCK < big.bytes ? end * BLOCK : big.bytes) - first * BLOCK;
    unsigned char *data = malloc((size_t)bytes + 1);
    assert_int_equal(pread(s->files.files[0], data, (size_t)bytes, dataset->offset + first * BLOCK), bytes);
    int64_t found = slip_checksum_find_damage(&s->checkpoint, dataset, first * BLOCK, bytes, data);
    for (int64_t cut = 1; cut < bytes; cut += bytes / 7 + 1) { /* a place may end anywhere */
        struct iovec places[] = {
            {data, (size_t)cut / 2}, {data + cut / 2, 0}, {data + cut / 2, (size_t)(cut - cut / 2)}, {data + cut, (size_t)(bytes - cut)}};
        assert_int_equal(slip_checksum_find_damage_in(&s->checkpoint, dataset, first * BLOCK, places, 4), found);
    }
    free(data);
    return found;
}

static void test_parts(void **state)
{
    (void)state;
    scene *s = make();
    assert_int_equal(open_it(s), SLIP_OK);
    assert_int_equal(s->checkpoint.checksum_count, 1 + 7 + 1 + 1);
    assert_int_equal(read_whole(s), SLIP_OK);
    for (int64_t first = 0; first < 7; first++)
        for (int64_t end = first + 1; end <= 7; end++)
            assert_int_equal(find_damage(s, first, end), -1);
    close_it(s);
    drop(s);
}

static void test_damage(void **state)
{
    (void)state;
    scene *s = make();
    assert_int_equal(open_it(s), SLIP_OK);
    int64_t offset = slip_checkpoint_find(&s->checkpoint, big.name)->offset, at = offset + 2 * BLOCK + 12345;
    close_it(s);
    flip(s, at);
    assert_int_equal(open_it(s), SLIP_OK);
    for (int64_t first = 0; first < 7; first++)
        for (int64_t end = first + 1; end <= 7; end++)
            assert_int_equal(find_damage(s, first, end), first <= 2 && end > 2 ? 2 * BLOCK : -1);
    assert_int_equal(read_whole(s), SLIP_ERR_INPUT);
    char cause[128];
    snprintf(cause, sizeof cause, "/target/big: damaged: its bytes %d to %d, from byte %lld of the file on", 2 * BLOCK, 3 * BLOCK - 1,
             (long long)offset + 2 * BLOCK);
    assert_non_null(strstr(slip_cause(), cause));
    close_it(s);
    flip(s, at);
    flip(s, offset + big.bytes - 1);
    assert_int_equal(open_it(s), SLIP_OK);
    assert_int_equal(find_damage(s, 0, 6), -1);
    assert_int_equal(read_whole(s), SLIP_ERR_INPUT); /* the rest of a block at the end */
    snprintf(cause, sizeof cause, "damaged: its bytes %d to %lld", 6 * BLOCK, (long long)big.bytes - 1);
    assert_non_null(strstr(slip_cause(), cause));
    close_it(s);
    flip(s, offset + big.bytes - 1);
    assert_int_equal(open_it(s), SLIP_OK);
    assert_int_equal(read_whole(s), SLIP_OK);
    close_it(s);
    drop(s);
}

/* Every byte of the small parts: the tokenizer's and the checksums' own. */
static void test_damage_at_opening(void **state)
{
    (void)state;
    scene *s = make();
    size_t size, found = 0;
    char *file = folder_read(s->path, &size);
    for (size_t at = 0; at + strlen(small_tokenizer) <= size; at++)
        if (memcmp(file + at, small_tokenizer, strlen(small_tokenizer)) == 0) {
            flip(s, (int64_t)at + 3);
            assert_int_equal(open_it(s), SLIP_ERR_INPUT);
            assert_non_null(strstr(slip_cause(), "/tokenizer: damaged: its bytes 0 to 16"));
            flip(s, (int64_t)at + 3);
            found++;
        }
    uint32_t first;
    slip_checksum_make("abcdefghijkl", 12, &first);
    for (size_t at = 0; at + 4 <= size; at++)
        if (memcmp(file + at, &first, 4) == 0) {
            flip(s, (int64_t)at);
            assert_int_equal(open_it(s), SLIP_ERR_INPUT);
            assert_non_null(strstr(slip_cause(), "/checksums: damaged"));
            flip(s, (int64_t)at);
            found++;
        }
    assert_int_equal(found, 2);
    slip_clear();
    free(file);
    drop(s);
}

/* The config and the settings are attributes: HDF5's own checksums guard them, and the message says so. */
static void test_damaged_attributes(void **state)
{
    (void)state;
    scene *s = make();
    size_t size, found = 0;
    char *file = folder_read(s->path, &size);
    const char *const texts[] = {small_config, small_settings};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *text = memmem(file, size, texts[i], strlen(texts[i]));
        assert_non_null(text);
        for (size_t at = 0; at < strlen(texts[i]); at += 5, found++) {
            flip(s, text - file + (int64_t)at);
            assert_int_equal(open_it(s), SLIP_ERR_INPUT);
            assert_non_null(strstr(slip_cause(), "/: damaged: what HDF5 keeps of it does not have its checksum"));
            flip(s, text - file + (int64_t)at);
        }
    }
    assert_true(found > 10);
    assert_int_equal(open_it(s), SLIP_OK);
    close_it(s);
    slip_clear();
    free(file);
    drop(s);
}

/* What is missing, or to spare, is named: the count of checksums tells only that something is. */
static void test_other_datasets(void **state)
{
    (void)state;
    static const struct {
        const char *taken, *copied, *cause;
    } cases[] = {
        {"target/norm", NULL, "m.h5: /target/norm is missing"},
        {"target/layers/0/o_scale", NULL, "m.h5: /target/layers/0/o_scale is missing"},
        {NULL, "target/norm", "m.h5: /target/another is not a dataset that its config asks for"},
        {"tokenizer", NULL, "and one of their own, without a /tokenizer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        folder *at = folder_make();
        slip_checkpoint checkpoint;
        assert_int_equal(small_write(folder_join(at, "m.h5")), SLIP_OK);
        hid_t file = H5Fopen(folder_join(at, "m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(cases[i].taken == NULL || H5Ldelete(file, cases[i].taken, H5P_DEFAULT) >= 0);
        assert_true(cases[i].copied == NULL || H5Ocopy(file, cases[i].copied, file, "target/another", H5P_DEFAULT, H5P_DEFAULT) >= 0);
        H5Fclose(file);
        assert_int_equal(slip_checkpoint_open(folder_join(at, "m.h5"), &checkpoint), SLIP_ERR_INPUT);
        if (strstr(slip_cause(), cases[i].cause) == NULL)
            fail_msg("\"%s\"; expected \"%s\"", slip_cause(), cases[i].cause);
        slip_clear();
        folder_remove(at);
    }
}

/* The same file written in pieces that do not end with blocks, byte for byte; a dataset has all of its bytes, and no more. */
static void test_pieces(void **state)
{
    (void)state;
    scene *s = make();
    char path[256];
    const slip_checkpoint_texts texts = {small_config, NULL, small_settings, small_tokenizer, strlen(small_tokenizer), false};
    slip_checkpoint_writer *writer;
    snprintf(path, sizeof path, "%s", folder_join(s->at, "pieces.h5"));
    assert_int_equal(slip_checkpoint_create(path, &texts, &writer), SLIP_OK);
    assert_int_equal(slip_checkpoint_begin(writer, &big), SLIP_OK);
    for (int64_t done = 0, bytes = 1; done < big.bytes; done += bytes, bytes = bytes * 3 + 1) {
        bytes = bytes < big.bytes - done ? bytes : big.bytes - done;
        assert_int_equal(slip_checkpoint_append(writer, s->data + done, bytes), SLIP_OK);
    }
    assert_int_equal(slip_checkpoint_append(writer, s->data, 1), SLIP_ERR_FAILED);
    assert_non_null(strstr(slip_cause(), "/target/big: 1 bytes more than it has"));
    slip_clear();
    assert_int_equal(slip_checkpoint_begin(writer, &small), SLIP_OK);
    assert_int_equal(slip_checkpoint_append(writer, "abcdefghijkl", 7), SLIP_OK);
    assert_int_equal(slip_checkpoint_commit(writer), SLIP_ERR_FAILED);
    assert_non_null(strstr(slip_cause(), "/draft/small: 7 bytes of 12 were added"));
    slip_clear();
    assert_int_equal(slip_checkpoint_append(writer, "hijkl", 5), SLIP_OK);
    assert_int_equal(slip_checkpoint_commit(writer), SLIP_OK);
    slip_checkpoint_writer_free(writer);
    size_t size, other;
    char *file = folder_read(s->path, &size), *pieces = folder_read(path, &other);
    assert_int_equal(size, other);
    assert_memory_equal(file, pieces, size);
    free(file);
    free(pieces);
    drop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts),
                                       cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_damage_at_opening),
                                       cmocka_unit_test(test_damaged_attributes),
                                       cmocka_unit_test(test_other_datasets),
                                       cmocka_unit_test(test_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
