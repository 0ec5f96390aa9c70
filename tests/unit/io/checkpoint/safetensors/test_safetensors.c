/* Handmade safetensors files, the bad ones named by their defect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/checkpoint/safetensors/safetensors.h"
#include "tests/unit/support/folder.h"

typedef struct {
    const char *defect;
    const char *header;
    int64_t data_size;
    const char *cause; /* part of the sentence that must come */
} bad_header;

#define TENSOR(dtype, shape, begin, end) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static const bad_header bad_headers[] = {
    {"EMPTY", "", 0, "does not begin with {"},
    {"NOT_JSON", "{]", 0, "header: byte"},
    {"NOT_OBJECT", "[]", 0, "does not begin with {"},
    {"SPACE_FIRST", " {}", 0, "does not begin with {"},
    {"TRAILING_TEXT", "{}x", 0, "header: byte"},
    {"DUPLICATE", "{\"a\":" TENSOR("U8", "[1]", 0, 1) ",\"a\":" TENSOR("U8", "[1]", 1, 2) "}", 2, "duplicate"},
    {"NAME_EMPTY", "{\"\":" TENSOR("U8", "[1]", 0, 1) "}", 1, "a tensor's name is empty"},
    {"NAME_NUL", "{\"a\\u0000b\":" TENSOR("U8", "[1]", 0, 1) "}", 1, "header: byte"},
    {"TENSOR_NOT_OBJECT", "{\"a\":7}", 0, "not an object"},
    {"DTYPE_MISSING", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype is missing"},
    {"SHAPE_MISSING", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "shape is not a list"},
    {"SHAPE_REAL", "{\"a\":" TENSOR("U8", "[1.0]", 0, 1) "}", 1, "shape[0] is not a size"},
    {"SHAPE_NEGATIVE", "{\"a\":" TENSOR("U8", "[-1]", 0, 1) "}", 1, "shape[0] is not a size"},
    {"SHAPE_NEGATIVE_PAIR", "{\"a\":" TENSOR("U8", "[-1,-1]", 0, 1) "}", 1, "shape[0] is not a size"},
    {"SHAPE_TOO_LONG", "{\"a\":" TENSOR("U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, "at most 8 sizes"},
    {"DIM_PAST_INT64", "{\"a\":" TENSOR("U8", "[18446744073709551616]", 0, 1) "}", 1, "header: byte"},
    {"PRODUCT_WRAPS", "{\"a\":" TENSOR("U8", "[4294967296,4294967296]", 0, 0) "}", 0, "larger than any file"},
    {"PRODUCT_WRAPS_TO_FIT", "{\"a\":" TENSOR("F32", "[4611686018427387905]", 0, 4) "}", 4, "larger than any file"},
    {"OFFSETS_MISSING", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "not a pair"},
    {"OFFSETS_THREE", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "not a pair"},
    {"OFFSETS_STRING", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[\"0\",1]}}", 1, "not a pair"},
    {"OFFSET_NEGATIVE", "{\"a\":" TENSOR("U8", "[1]", -1, 0) "}", 1, "outside of"},
    {"OFFSETS_REVERSED", "{\"a\":" TENSOR("U8", "[1]", 1, 0) "}", 1, "outside of"},
    {"OFFSET_PAST_END", "{\"a\":" TENSOR("U8", "[2]", 0, 2) "}", 1, "outside of"},
    {"OFFSET_HUGE", "{\"a\":" TENSOR("U8", "[9223372036854775807]", 0, 9223372036854775807) "}", 1, "outside of"},
    {"BAD_LENGTH_SHORT", "{\"a\":" TENSOR("F32", "[1]", 0, 2) "}", 4, "hold 2 bytes, its shape asks for 4"},
    {"BAD_LENGTH_LONG", "{\"a\":" TENSOR("U8", "[1]", 0, 4) "}", 4, "hold 4 bytes, its shape asks for 1"},
    {"OVERLAP", "{\"a\":" TENSOR("U8", "[2]", 0, 2) ",\"b\":" TENSOR("U8", "[2]", 1, 3) "}", 3, "overlapping"},
    {"SAME_BYTES", "{\"a\":" TENSOR("U8", "[2]", 0, 2) ",\"b\":" TENSOR("U8", "[2]", 0, 2) "}", 2, "overlapping"},
    {"GAP", "{\"a\":" TENSOR("U8", "[1]", 0, 1) ",\"b\":" TENSOR("U8", "[1]", 2, 3) "}", 3, "leaving a gap"},
    {"GAP_FIRST", "{\"a\":" TENSOR("U8", "[1]", 1, 2) "}", 2, "leaving a gap"},
    {"TRAILING_BYTES", "{\"a\":" TENSOR("U8", "[1]", 0, 1) "}", 3, "2 bytes after the last tensor"},
    {"TRAILING_ONLY", "{}", 3, "3 bytes after the last tensor"},
    {"METADATA_LIST", "{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"METADATA_NUMBER", "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__.a is not a string"},
};

static void test_bad_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        const bad_header *bad = &bad_headers[i];
        size_t size = strlen(bad->header), count = 99;
        slip_clear();
        slip_status status = slip_safetensors_check(bad->header, size, 8 + (int64_t)size + bad->data_size, "x", &count);
        if (status != SLIP_ERR_INPUT || strstr(slip_cause(), bad->cause) == NULL || count != 99)
            fail_msg("%s: status %d, count %zu, \"%s\"", bad->defect, status, count, slip_cause());
    }
    slip_clear();
}

static void test_good_header(void **state)
{
    (void)state;
    static const char long_name[300] = {[0 ... 298] = 'n'};
    char odd[512];
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},\"b\":" TENSOR("BF16", "[2,3]", 4, 16) ",\"empty\":" TENSOR(
        "F32", "[0,5]", 4, 4) ",\"scalar\":" TENSOR("F32", "[]", 0, 4) ",\"other\":" TENSOR("I64", "[1]", 16, 24) "}   ";
    size_t count = 0;
    assert_int_equal(slip_safetensors_check(header, strlen(header), 8 + (int64_t)strlen(header) + 24, "x", &count), SLIP_OK);
    assert_int_equal(count, 4);
    /* What nobody reads may be odd: no metadata, an unknown type that packs as it likes, a long name. */
    snprintf(odd, sizeof odd, "{\"__metadata__\":null,\"a\":" TENSOR("F5", "[7,3]", 0, 14) ",\"%s\":" TENSOR("U8", "[1]", 14, 15) "}",
             long_name);
    assert_int_equal(slip_safetensors_check(odd, strlen(odd), 8 + (int64_t)strlen(odd) + 15, "x", &count), SLIP_OK);
    assert_int_equal(count, 2);
}

/* A file of `header` and `data_size` bytes 0, 1, 2, ... that claims `length` bytes of header. */
static void write_file(folder *f, const char *name, const char *header, uint64_t length, size_t data_size)
{
    char bytes[1024] = {0};
    size_t size = strlen(header);
    assert_true(8 + size + data_size <= sizeof bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(length >> (8 * i));
    memcpy(bytes + 8, header, size);
    for (size_t i = 0; i < data_size; i++)
        bytes[8 + size + i] = (char)i;
    folder_write(f, name, bytes, 8 + size + data_size);
}

static void refuse_folder(folder *f, const char *defect, const char *cause)
{
    slip_safetensors *opened = NULL;
    slip_clear();
    slip_status status = slip_safetensors_open(f->path, &opened);
    if (status != SLIP_ERR_INPUT || strstr(slip_cause(), cause) == NULL || opened != NULL)
        fail_msg("%s: status %d, \"%s\"", defect, status, slip_cause());
    slip_clear();
}

static const char one[] = "{\"a\":" TENSOR("U8", "[4]", 0, 4) "}";
static const char two[] = "{\"b\":" TENSOR("BF16", "[2]", 0, 4) ",\"c\":" TENSOR("U8", "[1]", 4, 5) "}";

static void test_bad_files(void **state)
{
    (void)state;
    folder *f = folder_make();
    refuse_folder(f, "NO_FILE", "holds no *.safetensors");
    folder_write(f, "model.safetensors", "", 0);
    refuse_folder(f, "EMPTY_FILE", "too few");
    folder_write(f, "model.safetensors", "1234567", 7);
    refuse_folder(f, "SEVEN_BYTES", "too few");
    write_file(f, "model.safetensors", one, UINT64_MAX, 4);
    refuse_folder(f, "LENGTH_ALL_ONES", "header length");
    write_file(f, "model.safetensors", one, sizeof one + 4, 4);
    refuse_folder(f, "LENGTH_PAST_END", "header length");
    write_file(f, "model.safetensors", one, (uint64_t)1 << 40, 4);
    refuse_folder(f, "LENGTH_HUGE", "header length");
    write_file(f, "model.safetensors", one, sizeof one - 1, 3);
    refuse_folder(f, "TRUNCATED", "outside of");
    write_file(f, "model.safetensors", one, sizeof one - 1, 5);
    refuse_folder(f, "TRAILING", "after the last tensor");
    write_file(f, "model.safetensors", one, sizeof one - 1, 4);
    write_file(f, "more.safetensors", one, sizeof one - 1, 4);
    refuse_folder(f, "TENSOR_IN_TWO_FILES", "is also in model.safetensors");
    folder_remove(f);
}

static void test_truncated_everywhere(void **state)
{
    (void)state;
    folder *f = folder_make();
    for (size_t size = 0; size < 8 + sizeof one - 1 + 4; size++) {
        char bytes[128] = {(char)(sizeof one - 1)};
        memcpy(bytes + 8, one, sizeof one - 1);
        folder_write(f, "model.safetensors", bytes, size);
        refuse_folder(f, "TRUNCATED", f->path);
    }
    folder_remove(f);
}

static void test_read(void **state)
{
    (void)state;
    folder *f = folder_make();
    slip_safetensors *opened;
    unsigned char bytes[8] = {0};
    write_file(f, "model-2.safetensors", two, sizeof two - 1, 5);
    write_file(f, "model-1.safetensors", one, sizeof one - 1, 4);
    folder_write(f, "README.md", "x", 1);
    assert_int_equal(slip_safetensors_open(f->path, &opened), SLIP_OK);
    assert_int_equal(slip_safetensors_count(opened), 3);
    assert_string_equal(slip_safetensors_at(opened, 1)->name, "b");
    assert_null(slip_safetensors_find(opened, "d"));
    const slip_st_tensor *tensor = slip_safetensors_find(opened, "b");
    assert_int_equal(tensor->dtype, SLIP_ST_BF16);
    assert_int_equal(tensor->dims, 1);
    assert_int_equal(tensor->shape[0], 2);
    assert_non_null(strstr(slip_safetensors_path(opened, tensor), "/model-2.safetensors"));
    assert_int_equal(slip_safetensors_read(opened, tensor, 1, 3, bytes), SLIP_OK);
    assert_memory_equal(bytes, "\1\2\3\0", 4);
    assert_int_equal(slip_safetensors_read(opened, slip_safetensors_find(opened, "c"), 0, 1, bytes), SLIP_OK);
    assert_int_equal(bytes[0], 4);
    assert_int_equal(slip_safetensors_read(opened, tensor, 2, 3, bytes), SLIP_ERR_FAILED);
    slip_clear();
    assert_int_equal(slip_safetensors_read(opened, tensor, -1, 1, bytes), SLIP_ERR_FAILED);
    slip_clear();
    slip_safetensors_close(opened);
    folder_remove(f);
}

static void write_index(folder *f, const char *text)
{
    folder_write(f, "model.safetensors.index.json", text, strlen(text));
}

static void test_index(void **state)
{
    (void)state;
    folder *f = folder_make();
    slip_safetensors *opened;
    int64_t tensors, files;
    write_file(f, "model-1.safetensors", one, sizeof one - 1, 4);
    write_file(f, "model-2.safetensors", two, sizeof two - 1, 5);
    write_file(f, "stray.safetensors", one, sizeof one - 1, 4); /* not in the index: not opened */
    write_index(f, "{\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\"}}");
    assert_int_equal(slip_safetensors_open(f->path, &opened), SLIP_OK);
    assert_int_equal(slip_safetensors_count(opened), 3);
    assert_int_equal(slip_safetensors_total_size(opened, &tensors, &files), -1);
    assert_int_equal(tensors, 9);
    assert_int_equal(files, 9 + 8 + sizeof one - 1 + 8 + sizeof two - 1);
    slip_safetensors_close(opened);
    write_index(f, "{\"metadata\":{\"total_size\":1.5e3},\"weight_map\":{\"a\":\"model-1.safetensors\"}}");
    assert_int_equal(slip_safetensors_open(f->path, &opened), SLIP_OK);
    assert_int_equal(slip_safetensors_total_size(opened, &tensors, &files), 1500);
    slip_safetensors_close(opened);
    write_index(f, "{\"metadata\":{\"tp_size\":4},\"weight_map\":{\"a\":\"model-1.safetensors\"}}");
    assert_int_equal(slip_safetensors_open(f->path, &opened), SLIP_OK);
    assert_int_equal(slip_safetensors_tp_size(opened), 4);
    slip_safetensors_close(opened);
    write_index(f, "{\"metadata\":{\"tp_size\":\"4\"},\"weight_map\":{\"a\":\"model-1.safetensors\"}}");
    refuse_folder(f, "TP_SIZE_TEXT", "metadata.tp_size is not an integer");
    write_index(f, "{\"metadata\":{\"total_size\":\"9\"},\"weight_map\":{\"a\":\"model-1.safetensors\"}}");
    refuse_folder(f, "TOTAL_SIZE_TEXT", "metadata.total_size is not a number of bytes");
    write_index(f, "{\"metadata\":{\"total_size\":-9},\"weight_map\":{\"a\":\"model-1.safetensors\"}}");
    refuse_folder(f, "TOTAL_SIZE_NEGATIVE", "metadata.total_size is not a number of bytes");
    write_index(f, "{\"weight_map\":{\"a\":\"model-3.safetensors\"}}");
    refuse_folder(f, "SHARD_MISSING", "model-3.safetensors: cannot be opened");
    write_index(f, "{\"weight_map\":{\"a\":\"model-2.safetensors\",\"b\":\"model-1.safetensors\"}}");
    refuse_folder(f, "WRONG_SHARD", "is not in model-");
    write_index(f, "{\"weight_map\":{\"a\":\"../model-1.safetensors\"}}");
    refuse_folder(f, "PATH_ESCAPES", "does not name a file of the folder");
    write_index(f, "{\"weight_map\":{\"a\":7}}");
    refuse_folder(f, "NOT_A_NAME", "does not name a file of the folder");
    write_index(f, "{\"weight_map\":{}}");
    refuse_folder(f, "MAP_EMPTY", "weight_map is missing or empty");
    write_index(f, "[]");
    refuse_folder(f, "MAP_MISSING", "weight_map is missing or empty");
    write_index(f, "{");
    refuse_folder(f, "NOT_JSON", "index.json: line");
    folder_remove(f);
}

/* Files that an index passes over, whose names may be anything. */
static void test_unlisted(void **state)
{
    (void)state;
    char name[SLIP_SAFETENSORS_NAME] = "";
    slip_safetensors *opened;
    folder *f = folder_make();
    write_file(f, "model-1.safetensors", one, sizeof one - 1, 4);
    folder_write(f, "z.safetensors", "", 0);
    folder_write(f, "b\033[1m.safetensors", "", 0);
    folder_write(f, "a.bin", "", 0);
    write_index(f, "{\"weight_map\":{\"a\":\"model-1.safetensors\"}}");
    assert_int_equal(slip_safetensors_open(f->path, &opened), SLIP_OK);
    assert_int_equal(slip_safetensors_unlisted(opened, name), 2);
    assert_string_equal(name, "b?[1m.safetensors");
    slip_safetensors_close(opened);
    folder_remove(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_headers), cmocka_unit_test(test_good_header),
        cmocka_unit_test(test_bad_files),   cmocka_unit_test(test_truncated_everywhere),
        cmocka_unit_test(test_read),        cmocka_unit_test(test_index),
        cmocka_unit_test(test_unlisted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
