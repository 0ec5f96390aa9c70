/* Rounding as the GPU rounds: values by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "kernels/cpu/round.h"

typedef struct {
    float x, rounded;
} golden;

static void check(float (*round)(float), const golden *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (round(table[i].x) != table[i].rounded || round(-table[i].x) != -table[i].rounded)
            fail_msg("%a -> %a, not %a", table[i].x, round(table[i].x), table[i].rounded);
        assert_true(round(table[i].rounded) == table[i].rounded); /* values on the grid stay */
    }
}

static void test_e4m3(void **state)
{
    (void)state;
    static const golden table[] = {
        {0, 0},
        {1, 1},
        {1.07f, 1.125f},
        {1.0625f, 1},
        {1.1875f, 1.25f}, /* ties: the even mantissa */
        {17, 16},
        {19, 20},
        {431, 416},
        {432, 448},
        {449, 448},
        {1e9f, 448},
        {INFINITY, 448},
        {0x1p-6f, 0x1p-6f},
        {0x1.fp-7f, 0x1p-6f}, /* the smallest normal number, and what rounds up to it */
        {0x1p-9f, 0x1p-9f},
        {0x1p-10f, 0},
        {0x1.8p-9f, 0x1p-8f},
        {0x1.01p-10f, 0x1p-9f},
        {1e-20f, 0},
    };
    check(slip_round_e4m3, table, sizeof table / sizeof *table);
    assert_true(isnan(slip_round_e4m3(NAN)));
    assert_true(signbit(slip_round_e4m3(-1e-20f)));
}

static void test_bf16(void **state)
{
    (void)state;
    static const golden table[] = {
        {0, 0},
        {1 + 0x1p-8f, 1}, /* ties: the even mantissa */
        {1 + 3 * 0x1p-8f, 1 + 0x1p-6f},
        {1 + 0x1p-8f + 0x1p-20f, 1 + 0x1p-7f},
        {1 + 0x1p-9f, 1},
        {0x1.fffp3f, 16}, /* carries into the exponent */
        {INFINITY, INFINITY},
    };
    check(slip_round_bf16, table, sizeof table / sizeof *table);
    assert_true(isnan(slip_round_bf16(NAN)));
}

/* A scale a block of 128 columns, the last block short; a block of zeros stays one. */
static void test_scaled_operand(void **state)
{
    (void)state;
    static const slip_dtype narrow[] = {SLIP_MXFP4, SLIP_F8E4M3};
    for (int i = 0; i < 2; i++) {
        float x[260] = {[0] = 896, [1] = 2.125f, [2] = -2.375f, [127] = 0x1p-9f, [256] = 448, [257] = 1.0625f, [259] = -1.1875f}, y[260];
        memset(y, 0xff, sizeof y);
        slip_round_operand(narrow[i], x, 260, y);
        assert_true(y[0] == 896 && y[1] == 2 && y[2] == -2.5f && y[127] == 0);
        for (int c = 128; c < 256; c++)
            assert_true(y[c] == 0);
        assert_true(y[256] == 448 && y[257] == 1 && y[258] == 0 && y[259] == -1.25f);
    }
    float x[2] = {0.3f, 0.1f}, y[2];
    slip_round_operand(SLIP_MXFP4, x, 2, y);
    assert_true(fabsf(y[0] - 0.3f) <= 0x1p-24f);               /* amax meets 448 but for the division's last bit */
    assert_true(fabsf(y[1] - 144 * (0.3f / 448)) <= 0x1p-25f); /* 0.1 / scale = 149.33: between 144 and 160 */
    slip_round_operand(SLIP_MXFP4, x, 2, x);
    assert_memory_equal(x, y, sizeof x);
}

/* hi + lo: 16 bits of mantissa. */
static void test_split_operand(void **state)
{
    (void)state;
    static const slip_dtype wide[] = {SLIP_BF16, SLIP_F32};
    static const golden table[] = {
        {1 + 0x1p-20f, 1 + 0x1p-20f},
        {1 + 0x1p-8f + 0x1p-16f, 1 + 0x1p-8f + 0x1p-16f},
        {1 + 0x1p-9f + 0x1p-20f, 1 + 0x1p-9f}, /* lo = 2^-9 (1 + 2^-11) */
        {-3, -3},
    };
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
            float y;
            slip_round_operand(wide[i], &table[k].x, 1, &y);
            assert_true(y == table[k].rounded);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_e4m3), cmocka_unit_test(test_bf16), cmocka_unit_test(test_scaled_operand),
                                       cmocka_unit_test(test_split_operand)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
