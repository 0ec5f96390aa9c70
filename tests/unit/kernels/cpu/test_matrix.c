/* Packing: every code of every encoding survives, element by element and through a product with a unit vector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "ranks/model/mxfp4.h"
#include "kernels/cpu/math.h"
#include "tiny_weight.h"

enum { WIDEST = 320, ROWS = 70 }; /* rows: four groups of 16 side by side, and a rest */

/* Row `row` of the matrix through each instruction set: the product with the unit vector of a column is the element.
 * Its neighbours must be finite. */
static void check_products(const slip_matrix *matrix, const slip_weight *weight, int64_t expert)
{
    static float x[WIDEST];
    static double wide[WIDEST];
    float y[ROWS], *out = y, one = 1;
    double sums[ROWS], *sums_out = sums;
    const float *in = x;
    const double *wide_in = wide;
    const slip_math *table[3];
    int kinds = slip_math_all(table);
    assert_true(weight->columns <= WIDEST && weight->rows <= ROWS);
    for (int64_t c = 0; c < weight->columns; c++) {
        wide[c] = x[c] = 1;
        for (int kind = 0; kind < kinds; kind++) {
            memset(sums, 0, sizeof sums);
            table[kind]->linear(matrix, expert, &in, 1, &out);
            table[kind]->linear_exact(matrix, expert, &wide_in, &one, 1, &sums_out);
            for (int64_t r = 0; r < weight->rows; r++) {
                float want = (float)tiny_weight_value(weight, expert, r, c);
                assert_true(y[r] == want && (float)sums[r] == want);
            }
        }
        wide[c] = x[c] = 0;
    }
}

static void check_rows(const slip_matrix *matrix, const slip_weight *weight)
{
    float row[WIDEST];
    for (int64_t r = 0; r < weight->rows; r++) {
        slip_matrix_row(matrix, r, row);
        for (int64_t c = 0; c < weight->columns; c++)
            assert_true(row[c] == (float)tiny_weight_value(weight, 0, r, c));
    }
}

/* Packed in pieces of its rows it is the same matrix. */
static void test_rows(void **state)
{
    (void)state;
    static const slip_range pieces[] = {{32, 16}, {0, 32}, {48, ROWS - 48}};
    for (int dtype = SLIP_F32; dtype < SLIP_DTYPES; dtype++) {
        slip_matrix matrix;
        slip_weight weight = tiny_weight_random((slip_dtype)dtype, 1, ROWS, (slip_range){96, 160}, 7);
        assert_int_equal(slip_matrix_make(&weight, NULL, &matrix), SLIP_OK);
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            slip_weight piece = weight;
            piece.first_row = pieces[i].first;
            piece.rows = pieces[i].count;
            piece.data += (size_t)pieces[i].first * weight.row_bytes;
            if (piece.scale)
                piece.scale += pieces[i].first * weight.scale_columns * (dtype == SLIP_F8E4M3 ? 4 : 1);
            slip_matrix_pack(&piece, 0, &matrix, 0);
        }
        check_rows(&matrix, &weight);
        slip_matrix_free(&matrix);
        tiny_weight_free(&weight);
    }
}

static void test_random_weights(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 31, 32, 33, 80, 160, 300};
    for (int dtype = SLIP_F32; dtype < SLIP_DTYPES; dtype++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            slip_matrix matrix;
            slip_range columns = {96, dtype == SLIP_MXFP4 ? slip_padded(sizes[i]) : sizes[i]};
            slip_weight weight = tiny_weight_random((slip_dtype)dtype, 3, i % 2 ? ROWS : 5, columns, i + 1);
            assert_int_equal(tiny_weight_pack(&weight, &matrix), SLIP_OK);
            assert_true((uintptr_t)matrix.data % 64 == 0);
            check_rows(&matrix, &weight);
            for (int64_t e = 0; e < 3; e++)
                check_products(&matrix, &weight, e);
            slip_matrix_free(&matrix);
            tiny_weight_free(&weight);
        }
}

static void test_every_e4m3_code(void **state)
{
    (void)state;
    slip_weight weight = tiny_weight_make(SLIP_F8E4M3, 1, 2, (slip_range){0, 256});
    slip_matrix matrix;
    for (int code = 0; code < 256; code++)
        weight.data[code] = weight.data[256 + code] = (unsigned char)((code & 127) == 127 ? 0 : code);
    float scale[] = {1.0f, 0.37f, 0x1p-40f, 0x1p40f};
    memcpy(weight.scale, scale, sizeof scale);
    assert_int_equal(tiny_weight_pack(&weight, &matrix), SLIP_OK);
    check_rows(&matrix, &weight);
    check_products(&matrix, &weight, 0);
    slip_matrix_free(&matrix);
    tiny_weight_free(&weight);
}

static void test_e4m3_nan(void **state)
{
    (void)state;
    float values[33] = {0};
    slip_weight weight = tiny_weight_make(SLIP_F8E4M3, 1, 1, (slip_range){0, 33});
    slip_matrix matrix;
    float one = 1;
    weight.data[3] = 0x7f;
    weight.data[32] = 0xff;
    memcpy(weight.scale, &one, sizeof one);
    assert_int_equal(tiny_weight_pack(&weight, &matrix), SLIP_OK);
    slip_matrix_row(&matrix, 0, values);
    assert_true(isnan(values[3]) && isnan(values[32]) && values[4] == 0);
    slip_matrix_free(&matrix);
    tiny_weight_free(&weight);
}

/* All 16 codes at both nibbles and at both halves of a block, under scales from the smallest to the largest. */
static void test_every_mxfp4_code(void **state)
{
    (void)state;
    static const unsigned char scales[] = {0, 1, 2, 3, 100, 127, 128, 200, 251, 252, 254};
    enum { COUNT = sizeof scales };
    slip_weight weight = tiny_weight_make(SLIP_MXFP4, 1, COUNT, (slip_range){0, 64});
    slip_matrix matrix;
    for (int row = 0; row < COUNT; row++) {
        int mask = scales[row] == 254 ? 11 : 15; /* 2 * 2^127 is beyond f32: keep to magnitudes below 2 */
        for (int j = 0; j < 32; j++)
            weight.data[32 * row + j] = (unsigned char)((j & mask) | (((j * 5 + 3) & mask) << 4));
        weight.scale[2 * row] = weight.scale[2 * row + 1] = scales[row];
    }
    assert_int_equal(tiny_weight_pack(&weight, &matrix), SLIP_OK);
    check_rows(&matrix, &weight);
    check_products(&matrix, &weight, 0);
    slip_matrix_free(&matrix);
    tiny_weight_free(&weight);
}

static void test_bytes(void **state)
{
    (void)state;
    static const uint64_t want[SLIP_DTYPES] = {48 * 64 * 4, 48 * 64 * 2, 48 * (64 + 2 * 4), 48 * (32 + 2)};
    for (int dtype = SLIP_F32; dtype < SLIP_DTYPES; dtype++) {
        slip_weight weight = tiny_weight_random((slip_dtype)dtype, 2, 48, (slip_range){0, 64}, 9);
        slip_matrix matrix;
        assert_int_equal(tiny_weight_pack(&weight, &matrix), SLIP_OK);
        assert_int_equal(slip_matrix_bytes(&matrix), want[dtype]);
        slip_matrix_free(&matrix);
        tiny_weight_free(&weight);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),     cmocka_unit_test(test_random_weights),   cmocka_unit_test(test_every_e4m3_code),
        cmocka_unit_test(test_e4m3_nan), cmocka_unit_test(test_every_mxfp4_code), cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
