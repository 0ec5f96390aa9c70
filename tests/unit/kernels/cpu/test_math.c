/* Every instruction set's arithmetic against double precision, and its promise: a token's result depends on no other token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/cpu/math.h"
#include "tiny_random.h"
#include "tiny_weight.h"

enum { ROWS = 70, EXPERTS = 2, TOKENS = 17, WIDEST = 288 }; /* rows: four groups of 16 side by side, and a rest */

static const int64_t sizes[] = {1, 31, 33, 80, 160, 257};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* One weight and 17 tokens that meet it. */
typedef struct {
    slip_weight weight;
    slip_matrix matrix;
    float x[TOKENS][WIDEST];
    float gain[TOKENS];
    double wide[TOKENS][WIDEST];
    const float *rows[TOKENS];
    const double *wide_rows[TOKENS];
    uint64_t key;
} product;

static void product_make(product *p, slip_dtype dtype, int64_t columns, uint64_t key)
{
    memset(p, 0, sizeof *p);
    p->key = key;
    columns = dtype == SLIP_MXFP4 ? slip_padded(columns) : columns;
    p->weight = tiny_weight_random(dtype, EXPERTS, ROWS, (slip_range){32, columns}, key);
    assert_int_equal(tiny_weight_pack(&p->weight, &p->matrix), SLIP_OK);
    for (int t = 0; t < TOKENS; t++) {
        tiny_fill(key * 100 + (uint64_t)t, 2.0f, columns, p->x[t]);
        for (int c = 0; c < WIDEST; c++)
            p->wide[t][c] = p->x[t][c];
        p->rows[t] = p->x[t];
        p->wide_rows[t] = p->wide[t];
        p->gain[t] = tiny_uniform(key + 1, (uint64_t)t);
    }
}

static void product_free(product *p)
{
    slip_matrix_free(&p->matrix);
    tiny_weight_free(&p->weight);
}

/* The sum in double, and the sum of magnitudes that errors are measured by. */
static double reference(const product *p, int64_t expert, int64_t row, int token, double *magnitude)
{
    double sum = 0;
    *magnitude = 0;
    for (int64_t c = 0; c < p->weight.columns; c++) {
        double term = tiny_weight_value(&p->weight, expert, row, c) * p->x[token][c];
        sum += term;
        *magnitude += fabs(term);
    }
    return sum;
}

/* linear_exact on `wide`, or linear_partial on `x`: they promise the same but for where columns may be cut. */
static void add_products(const slip_math *math, bool exact, const slip_matrix *matrix, int64_t expert, const float *const *x,
                         const double *const *wide, const float *gain, int count, double *const *sums)
{
    if (exact)
        math->linear_exact(matrix, expert, wide, gain, count, sums);
    else
        math->linear_partial(matrix, expert, x, gain, count, sums);
}

typedef void check(const slip_math *math, product *p);

/* For every instruction set, encoding and width. */
static void for_each_product(check *check_one)
{
    const slip_math *table[3];
    int kinds = slip_math_all(table);
    for (int kind = 0; kind < kinds; kind++)
        for (int dtype = SLIP_F32; dtype < SLIP_DTYPES; dtype++)
            for (int i = 0; i < SIZES; i++) {
                static product p;
                product_make(&p, (slip_dtype)dtype, sizes[i], (uint64_t)(10 * dtype + i));
                check_one(table[kind], &p);
                product_free(&p);
            }
}

static void check_values_of(const slip_math *math, product *p, bool exact)
{
    float y[TOKENS][ROWS + 1], *out[TOKENS];
    double sums[TOKENS][ROWS + 1], *sum_out[TOKENS], magnitude;
    for (int t = 0; t < TOKENS; t++) {
        out[t] = y[t];
        sum_out[t] = sums[t];
    }
    for (int64_t e = 0; e < EXPERTS; e++) {
        for (int t = 0; t < TOKENS; t++)
            for (int r = 0; r <= ROWS; r++)
                y[t][r] = (float)(sums[t][r] = 1000 * t + r); /* partial adds */
        math->linear(&p->matrix, e, p->rows, TOKENS, out);
        add_products(math, exact, &p->matrix, e, p->rows, p->wide_rows, p->gain, TOKENS, sum_out);
        for (int t = 0; t < TOKENS; t++) {
            assert_true(y[t][ROWS] == 1000 * t + ROWS && sums[t][ROWS] == 1000 * t + ROWS); /* no row too many */
            for (int r = 0; r < ROWS; r++) {
                double want = reference(p, e, r, t, &magnitude);
                assert_true(fabs(y[t][r] - want) <= 2e-6 * magnitude);
                assert_true(fabs(sums[t][r] - (1000 * t + r + p->gain[t] * want)) <=
                            1e-12 * (1000 * t + r) + (exact ? 1e-7 : 2e-6) * magnitude);
            }
        }
    }
}

static void check_values(const slip_math *math, product *p)
{
    check_values_of(math, p, true);
    check_values_of(math, p, false);
}

static void test_products(void **state)
{
    (void)state;
    for_each_product(check_values);
}

/* `count` tokens from `first` on (round and round) give what each gives alone. */
static void check_batch(const slip_math *math, product *p, bool exact, int first, int count)
{
    const float *x[TOKENS];
    const double *wide[TOKENS];
    float gain[TOKENS], y[TOKENS][ROWS], alone[ROWS], *out[TOKENS], *alone_out = alone;
    double sums[TOKENS][ROWS], alone_sums[ROWS], *sum_out[TOKENS], *alone_sum_out = alone_sums;
    memset(sums, 0, sizeof sums);
    for (int t = 0; t < count; t++) {
        int token = (first + t) % TOKENS;
        x[t] = p->x[token];
        wide[t] = p->wide[token];
        gain[t] = p->gain[token];
        out[t] = y[t];
        sum_out[t] = sums[t];
    }
    math->linear(&p->matrix, 1, x, count, out);
    add_products(math, exact, &p->matrix, 1, x, wide, gain, count, sum_out);
    for (int t = 0; t < count; t++) {
        memset(alone_sums, 0, sizeof alone_sums);
        math->linear(&p->matrix, 1, &x[t], 1, &alone_out);
        add_products(math, exact, &p->matrix, 1, &x[t], &wide[t], &gain[t], 1, &alone_sum_out);
        assert_memory_equal(y[t], alone, sizeof alone);
        assert_memory_equal(sums[t], alone_sums, sizeof alone_sums);
    }
}

static void check_batches(const slip_math *math, product *p)
{
    for (int count = 1; count <= TOKENS; count++)
        for (int exact = 0; exact < 2; exact++)
            check_batch(math, p, exact, count * 5 % TOKENS, count);
}

static void test_tokens_are_alone(void **state)
{
    (void)state;
    for_each_product(check_batches);
}

/* Columns [first, end) of the same weight, as a rank that owns them has it. */
static void add_piece(const slip_math *math, bool exact, const product *p, int64_t first, int64_t end, double *sums)
{
    double wide[WIDEST] = {0};
    float x[WIDEST] = {0};
    const double *wide_in = wide;
    const float *in = x;
    float one = 1;
    slip_matrix matrix;
    slip_weight weight = tiny_weight_random(p->weight.dtype, EXPERTS, ROWS, (slip_range){32 + first, end - first}, p->key);
    assert_int_equal(tiny_weight_pack(&weight, &matrix), SLIP_OK);
    memcpy(wide, p->wide[0] + first, (size_t)(end - first) * sizeof *wide);
    memcpy(x, p->x[0] + first, (size_t)(end - first) * sizeof *x);
    add_products(math, exact, &matrix, 1, &in, &wide_in, &one, 1, &sums);
    slip_matrix_free(&matrix);
    tiny_weight_free(&weight);
}

static void check_cuts_of(const slip_math *math, product *p, bool exact)
{
    int64_t step = exact && p->weight.dtype == SLIP_F32 ? 1 : 32;
    double whole[ROWS] = {0};
    add_piece(math, exact, p, 0, p->weight.columns, whole);
    for (int64_t cut = 0; cut <= p->weight.columns; cut += step) {
        double sums[ROWS] = {0}, rest[ROWS] = {0};
        add_piece(math, exact, p, 0, cut, sums);
        add_piece(math, exact, p, cut, p->weight.columns, rest);
        for (int r = 0; r < ROWS; r++)
            assert_true((float)(sums[r] + rest[r]) == (float)whole[r]);
    }
}

static void check_cuts(const slip_math *math, product *p)
{
    check_cuts_of(math, p, true);
    check_cuts_of(math, p, false);
}

static void test_cuts_do_not_show(void **state)
{
    (void)state;
    for_each_product(check_cuts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_tokens_are_alone),
        cmocka_unit_test(test_cuts_do_not_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
