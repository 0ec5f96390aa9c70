/* Every tensor of every layout, spoilt: missing, misnamed, of another type or shape, without its scales, with one value that is not
 * finite. Each time convert refuses the folder and names the tensor. The layouts are those of tests/golden/forward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "altered_folder.h"
#include "folder.h"
#include "io/checkpoint/safetensors/safetensors.h"
#include "jobs/convert/convert.h"

static const char *const fixtures[] = {"v2-flash-split-fp8", "v2.5-fused-fp8", "v2.6-fused-mxfp4", "pro-split-bf16"};

enum { FIXTURES = sizeof fixtures / sizeof *fixtures };

static bool ends(const char *text, const char *with)
{
    size_t length = strlen(text), tail = strlen(with);
    return length >= tail && strcmp(text + length - tail, with) == 0;
}

/* Two of a layer's experts: the first, which tells the others' type, and another one. */
static bool is_chosen(const slip_st_tensor *tensor, size_t number)
{
    const char *expert = strstr(tensor->name, ".experts.");
    if (getenv("QUICK") != NULL && number % 3 != 0)
        return false;
    return expert == NULL || strncmp(expert, ".experts.0.", 11) == 0 || strncmp(expert, ".experts.3.", 11) == 0;
}

/* ---- headers ---- */

/* Change the tensor's entry, refuse the folder by its name, and put the file back. */
static void refuse_entry(const altered_folder *f, const char *path, const char *tensor, const char *from, const char *to)
{
    char entry[256], defect[400];
    size_t size;
    char *kept = folder_read(path, &size);
    snprintf(entry, sizeof entry, "\"%s\":", tensor);
    snprintf(defect, sizeof defect, "%s: %s -> %s", tensor, from, to);
    if (!altered_header(path, entry, from, to))
        fail_msg("%s: its entry is written in another way", defect);
    altered_refuse(f, SLIP_CONVERT_KEEP, true, defect, tensor, path + strlen(f->at));
    altered_write(f, path + strlen(f->source) + 1, kept, size);
    free(kept);
}

static const char *dtype_name(slip_st_dtype dtype)
{
    static const char *const names[] = {"F32", "BF16", "F16", "F8_E4M3", "U8", "F8_E8M0"};
    return names[dtype];
}

/* Types of the same size, of which none can stand for a weight. */
static const char *other_dtype(slip_st_dtype dtype)
{
    return dtype == SLIP_ST_F32 ? "I32" : dtype == SLIP_ST_BF16 ? "I16" : "F8_E5M2";
}

static void spoil_shape(const altered_folder *f, const char *path, const slip_st_tensor *tensor)
{
    char from[96], to[96];
    long long rows = tensor->shape[0], columns = tensor->dims > 1 ? tensor->shape[1] : 1;
    snprintf(from, sizeof from, tensor->dims > 1 ? "\"shape\":[%lld,%lld]" : "\"shape\":[%lld]", rows, columns);
    snprintf(to, sizeof to, "\"shape\":[%lld,%lld,1]", rows, columns);
    refuse_entry(f, path, tensor->name, from, to);
    snprintf(to, sizeof to, "\"shape\":[%lld,%lld]", columns, rows);
    if (tensor->dims == 1 || rows != columns)
        refuse_entry(f, path, tensor->name, from, to);
}

static void spoil_entry(const altered_folder *f, const char *path, const slip_st_tensor *tensor)
{
    char from[64], to[64];
    snprintf(from, sizeof from, "\"dtype\":\"%s\"", dtype_name(tensor->dtype));
    snprintf(to, sizeof to, "\"dtype\":\"%s\"", other_dtype(tensor->dtype));
    refuse_entry(f, path, tensor->name, from, to);
    spoil_shape(f, path, tensor);
}

/* Under another name it is missing, and one too many. An index, where there is one, goes along. */
static void misname(const altered_folder *f, const char *path, const char *tensor)
{
    char entry[256], renamed[256], index[256];
    size_t size, index_size = 0;
    snprintf(index, sizeof index, "%s", altered_path(f, "model.safetensors.index.json"));
    bool listed = access(index, F_OK) == 0 && strstr(path, "/dflash/") == NULL;
    char *kept = folder_read(path, &size), *kept_index = listed ? folder_read(index, &index_size) : NULL;
    snprintf(entry, sizeof entry, "\"%s\":", tensor);
    snprintf(renamed, sizeof renamed, "\"%sx\":", tensor);
    assert_true(altered_header(path, "{", entry, renamed));
    char *name = listed ? strstr(kept_index, entry) : NULL;
    char *made = listed ? malloc(index_size + 2) : NULL;
    if (listed) {
        assert_non_null(name);
        int length = sprintf(made, "%.*s%s%s", (int)(name - kept_index), kept_index, renamed, name + strlen(entry));
        altered_write(f, "model.safetensors.index.json", made, (size_t)length);
    }
    altered_refuse(f, SLIP_CONVERT_KEEP, true, renamed, tensor, "");
    altered_write(f, path + strlen(f->source) + 1, kept, size);
    if (listed)
        altered_write(f, "model.safetensors.index.json", kept_index, index_size);
    free(made);
    free(kept_index);
    free(kept);
}

static void spoil_headers(const altered_folder *f, const char *source)
{
    slip_safetensors *opened;
    if (slip_safetensors_open(source, &opened) != SLIP_OK)
        fail_msg("%s", slip_cause());
    for (size_t i = 0; i < slip_safetensors_count(opened); i++) {
        const slip_st_tensor *tensor = slip_safetensors_at(opened, i);
        const char *path = slip_safetensors_path(opened, tensor);
        if (!is_chosen(tensor, i))
            continue;
        misname(f, path, tensor->name);
        spoil_entry(f, path, tensor);
    }
    slip_safetensors_close(opened);
}

static void test_headers(void **state)
{
    (void)state;
    for (int i = 0; i < FIXTURES; i++) {
        altered_folder f = altered_copy(fixtures[i]);
        char draft[256];
        snprintf(draft, sizeof draft, "%s", altered_path(&f, "dflash"));
        spoil_headers(&f, f.source);
        if (access(draft, F_OK) == 0)
            spoil_headers(&f, draft);
        altered_drop(&f);
    }
}

/* ---- values ---- */

/* NaN, or infinity where the type has it; 0 bytes: every byte stands for a number. */
static size_t bad_value(const slip_st_tensor *tensor, bool infinite, unsigned char value[4])
{
    switch (tensor->dtype) {
    case SLIP_ST_F32: memcpy(value, infinite ? (unsigned char[]){0, 0, 0x80, 0xff} : (unsigned char[]){0, 0, 0xc0, 0x7f}, 4); return 4;
    case SLIP_ST_BF16: memcpy(value, infinite ? (unsigned char[]){0x80, 0x7f} : (unsigned char[]){0xc0, 0xff}, 2); return 2;
    case SLIP_ST_F8E4M3: value[0] = infinite ? 0xff : 0x7f; return 1;
    case SLIP_ST_F8E8M0: value[0] = 0xff; return 1;
    default: value[0] = 0xff; return ends(tensor->name, "_scale") ? 1 : 0;
    }
}

static void put(const char *path, const void *bytes, size_t size, int64_t offset, void *kept)
{
    int file = open(path, O_RDWR);
    assert_true(file >= 0);
    if (kept != NULL)
        assert_int_equal(pread(file, kept, size, offset), size);
    assert_int_equal(pwrite(file, bytes, size, offset), size);
    assert_int_equal(close(file), 0);
}

/* Its first value, or its last one. */
static void spoil_value(const altered_folder *f, const char *path, const slip_st_tensor *tensor, slip_convert_experts experts, bool first)
{
    unsigned char bad[4], kept[4];
    size_t size = bad_value(tensor, first, bad);
    int64_t at = first ? tensor->offset : tensor->offset + tensor->bytes - (int64_t)size;
    if (size == 0)
        return;
    put(path, bad, size, at, kept);
    altered_refuse(f, experts, false, tensor->name, tensor->name, first ? "at [0" : "is not finite");
    put(path, kept, size, at, NULL);
}

static void spoil_values(const altered_folder *f, const char *source, slip_convert_experts experts)
{
    slip_safetensors *opened;
    if (slip_safetensors_open(source, &opened) != SLIP_OK)
        fail_msg("%s", slip_cause());
    for (size_t i = 0; i < slip_safetensors_count(opened); i++) {
        const slip_st_tensor *tensor = slip_safetensors_at(opened, i);
        if (!is_chosen(tensor, i))
            continue;
        spoil_value(f, slip_safetensors_path(opened, tensor), tensor, experts, i % 2 == 0);
    }
    slip_safetensors_close(opened);
}

static void test_values(void **state)
{
    (void)state;
    for (int i = 0; i < FIXTURES; i++) {
        altered_folder f = altered_copy(fixtures[i]);
        char draft[256];
        snprintf(draft, sizeof draft, "%s", altered_path(&f, "dflash"));
        spoil_values(&f, f.source, SLIP_CONVERT_KEEP);
        if (strcmp(fixtures[i], "v2-flash-split-fp8") == 0 && getenv("QUICK") == NULL)
            spoil_values(&f, f.source, SLIP_CONVERT_MXFP4);
        if (access(draft, F_OK) == 0)
            spoil_values(&f, draft, SLIP_CONVERT_KEEP);
        altered_drop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_headers), cmocka_unit_test(test_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
