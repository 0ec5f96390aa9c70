/* The number formats against their definitions, and the rounding rule against a brute-force reading of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "ranks/model/mxfp4.h"

static void test_small_floats(void **state)
{
    (void)state;
    assert_true(slip_bf16_to_f32(0x3f80) == 1.0f && slip_bf16_to_f32(0xc040) == -3.0f);
    assert_true(slip_f16_to_f32(0x3c00) == 1.0f && slip_f16_to_f32(0xc200) == -3.0f);
    assert_true(slip_f16_to_f32(0x7bff) == 65504.0f && slip_f16_to_f32(0x0001) == ldexpf(1.0f, -24));
    assert_true(slip_f16_to_f32(0x03ff) == ldexpf(1023.0f, -24) && slip_f16_to_f32(0x0400) == ldexpf(1.0f, -14));
    assert_true(isinf(slip_f16_to_f32(0x7c00)) && isnan(slip_f16_to_f32(0x7e00)) && signbit(slip_f16_to_f32(0x8000)));
    assert_true(slip_e4m3_to_f32(0x38) == 1.0f && slip_e4m3_to_f32(0x7e) == 448.0f && slip_e4m3_to_f32(0xb8) == -1.0f);
    assert_true(slip_e4m3_to_f32(0x01) == ldexpf(1.0f, -9) && slip_e4m3_to_f32(0x08) == ldexpf(1.0f, -6));
    assert_true(isnan(slip_e4m3_to_f32(0x7f)) && isnan(slip_e4m3_to_f32(0xff)));
    assert_true(slip_e8m0_to_f32(127) == 1.0f && slip_e8m0_to_f32(0) == ldexpf(1.0f, -127));
    assert_true(slip_e8m0_to_f32(254) == ldexpf(1.0f, 127) && isnan(slip_e8m0_to_f32(255)));
}

/* One block whose first value is `value` and whose largest is 6: the scale is then 1. */
static float rounded(float value)
{
    float block[SLIP_MXFP4_BLOCK] = {value, 6.0f};
    uint8_t codes[SLIP_MXFP4_BLOCK / 2], scale;
    assert_true(slip_mxfp4_round_row(block, SLIP_MXFP4_BLOCK, codes, &scale));
    assert_int_equal(scale, 127);
    assert_int_equal(codes[0] >> 4, 7); /* the odd column is the high nibble */
    return slip_e2m1_to_f32(codes[0]);
}

static void test_ties_go_to_even(void **state)
{
    (void)state;
    static const float pairs[][2] = {{0.25f, 0.0f}, {0.75f, 1.0f}, {1.25f, 1.0f}, {1.75f, 2.0f}, {2.5f, 2.0f}, {3.5f, 4.0f},  {5.0f, 4.0f},
                                     {5.01f, 6.0f}, {0.26f, 0.5f}, {0.74f, 0.5f}, {1.3f, 1.5f},  {2.6f, 3.0f}, {3.49f, 3.0f}, {6.9f, 6.0f}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_true(rounded(pairs[i][0]) == pairs[i][1]);
        assert_true(rounded(-pairs[i][0]) == -pairs[i][1]);
    }
    assert_false(signbit(rounded(-0.1f)));
}

static void check_scale(float amax, int scale)
{
    float block[SLIP_MXFP4_BLOCK] = {0};
    uint8_t codes[SLIP_MXFP4_BLOCK / 2], byte;
    block[17] = -amax;
    assert_true(slip_mxfp4_round_row(block, SLIP_MXFP4_BLOCK, codes, &byte));
    assert_int_equal(byte, scale);
}

static void test_scale_rule(void **state)
{
    (void)state;
    check_scale(0.0f, 0);
    check_scale(1.0f, 125);
    check_scale(4.0f, 127);
    check_scale(nextafterf(7.0f, 0.0f), 127);
    check_scale(7.0f, 128);
    check_scale(nextafterf(8.0f, 0.0f), 128);
    check_scale(8.0f, 128);
    check_scale(ldexpf(1.0f, -149), 0);
    check_scale(3.4e38f, 127 + 126);
}

static void test_not_finite(void **state)
{
    (void)state;
    float block[SLIP_MXFP4_BLOCK] = {0};
    uint8_t codes[SLIP_MXFP4_BLOCK / 2], scale;
    block[31] = NAN;
    assert_false(slip_mxfp4_round_row(block, SLIP_MXFP4_BLOCK, codes, &scale));
    block[31] = -INFINITY;
    assert_false(slip_mxfp4_round_row(block, SLIP_MXFP4_BLOCK, codes, &scale));
}

/* Every value of a grid survives, whatever the block's largest element is. */
static void test_grid_is_exact(void **state)
{
    (void)state;
    srand(7);
    for (int trial = 0; trial < 5000; trial++) {
        float block[SLIP_MXFP4_BLOCK];
        uint8_t codes[SLIP_MXFP4_BLOCK / 2], scale;
        int exponent = rand() % 200 - 100, largest = 1 + rand() % 7;
        for (int i = 0; i < SLIP_MXFP4_BLOCK; i++)
            block[i] = ldexpf(slip_e2m1_to_f32((uint8_t)(rand() % (largest + 1) | (rand() & 8))), exponent);
        assert_true(slip_mxfp4_round_row(block, SLIP_MXFP4_BLOCK, codes, &scale));
        for (int i = 0; i < SLIP_MXFP4_BLOCK; i++)
            assert_true(slip_e2m1_to_f32(codes[i / 2] >> (i % 2 * 4)) * slip_e8m0_to_f32(scale) == block[i]);
    }
}

/* No grid value lies nearer than the chosen one, but where the block's top saturates. */
static void test_nearest(void **state)
{
    (void)state;
    srand(8);
    for (int trial = 0; trial < 2000; trial++) {
        float row[2 * SLIP_MXFP4_BLOCK];
        uint8_t codes[SLIP_MXFP4_BLOCK], scales[2];
        for (int i = 0; i < 2 * SLIP_MXFP4_BLOCK; i++)
            row[i] = ldexpf((float)rand() / (float)RAND_MAX - 0.5f, rand() % 6);
        assert_true(slip_mxfp4_round_row(row, 2 * SLIP_MXFP4_BLOCK, codes, scales));
        for (int i = 0; i < 2 * SLIP_MXFP4_BLOCK; i++) {
            float step = slip_e8m0_to_f32(scales[i / SLIP_MXFP4_BLOCK]);
            float error = fabsf(slip_e2m1_to_f32(codes[i / 2] >> (i % 2 * 4)) * step - row[i]);
            for (uint8_t code = 0; code < 16; code++)
                assert_true(error <= fabsf(slip_e2m1_to_f32(code) * step - row[i]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_floats), cmocka_unit_test(test_ties_go_to_even), cmocka_unit_test(test_scale_rule),
        cmocka_unit_test(test_not_finite),   cmocka_unit_test(test_grid_is_exact),   cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
