/* mask_embedding.pt as torch.save wrote it (the fuzzer's seeds: 64 values 0, 1, ... as bf16 and as f32), then
 * damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ranks/model/mxfp4.h"
#include "io/checkpoint/torch_file.h"
#include "tests/unit/support/folder.h"

enum { ELEMENTS = 64 };

static const char *const seeds[] = {"tests/fuzz/corpus/mask/bf16.pt", "tests/fuzz/corpus/mask/f32.pt"};

static void test_values(void **state)
{
    (void)state;
    for (int seed = 0; seed < 2; seed++) {
        size_t size, offset;
        slip_dtype dtype;
        char *file = folder_read(seeds[seed], &size);
        assert_int_equal(slip_torch_file_find((unsigned char *)file, size, "m.pt", ELEMENTS, &dtype, &offset), SLIP_OK);
        assert_int_equal(dtype, seed == 0 ? SLIP_BF16 : SLIP_F32);
        for (size_t i = 0; i < ELEMENTS; i++) {
            uint16_t half;
            float value;
            memcpy(&half, file + offset + 2 * i, sizeof half);
            memcpy(&value, file + offset + 4 * (seed == 1 ? i : 0), sizeof value);
            assert_true((seed == 0 ? slip_bf16_to_f32(half) : value) == (float)i);
        }
        free(file);
    }
}

/* Refused, or found where it was: the damage then lay in padding or in a member that is not looked at. */
static void check_damaged(const unsigned char *file, size_t size, slip_dtype dtype, size_t offset)
{
    slip_dtype found_dtype = SLIP_DTYPES;
    size_t found = 0;
    unsigned char *exact = malloc(size + 1); /* so that a read past the end is seen */
    memcpy(exact, file, size);
    exact = realloc(exact, size > 0 ? size : 1);
    slip_clear();
    if (slip_torch_file_find(exact, size, "m.pt", ELEMENTS, &found_dtype, &found) != SLIP_OK)
        assert_non_null(strstr(slip_cause(), "m.pt: "));
    else
        assert_true(found_dtype == dtype && found == offset);
    free(exact);
}

static void test_damage(void **state)
{
    (void)state;
    for (int seed = 0; seed < 2; seed++) {
        size_t size, offset;
        slip_dtype dtype;
        unsigned char *file = (unsigned char *)folder_read(seeds[seed], &size);
        assert_int_equal(slip_torch_file_find(file, size, "m.pt", ELEMENTS, &dtype, &offset), SLIP_OK);
        for (size_t keep = 0; keep < size; keep++)
            check_damaged(file, keep, SLIP_DTYPES, 0);
        for (size_t at = 0; at < size; at++)
            for (int bit = 0; bit < 8; bit += 3) {
                file[at] ^= (unsigned char)(1 << bit);
                check_damaged(file, size, dtype, offset);
                file[at] ^= (unsigned char)(1 << bit);
            }
        free(file);
    }
    slip_clear();
}

static void test_wrong_size(void **state)
{
    (void)state;
    size_t size, offset;
    slip_dtype dtype;
    char *file = folder_read(seeds[0], &size);
    assert_int_equal(slip_torch_file_find((unsigned char *)file, size, "m.pt", 65, &dtype, &offset), SLIP_ERR_INPUT);
    assert_string_equal(slip_cause(), "m.pt: 0 storages of 65 values of bf16 or f32; one is expected");
    slip_clear();
    /* half as many f32 would fit the bytes, but not the type */
    assert_int_equal(slip_torch_file_find((unsigned char *)file, size, "m.pt", 32, &dtype, &offset), SLIP_ERR_INPUT);
    assert_string_equal(slip_cause(), "m.pt: its storage of 128 bytes is not of type f32");
    slip_clear();
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_wrong_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
