/* Weights in the GPU's order, unpacked again as the consumers read them; and the cuts: what they cover, what they need, how
 * evenly they load 132 SMs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"
#include "kernels/cuda/layout/pack.h"
#include "tiny_weight.h"

/* ---- unpacking ---- */

/* A tile's values, decoded; `coded`: not what is written for an element that does not exist. */
typedef struct {
    double value[SLIP_TILE_ROWS][256];
    bool coded[SLIP_TILE_ROWS][256];
} block;

static double bf16_at(const unsigned char *at)
{
    uint16_t code;
    memcpy(&code, at, sizeof code);
    return slip_bf16_to_f32(code);
}

static void decode_slices(const unsigned char *tile, bool f8, block *b)
{
    int items = f8 ? 16 : 8;
    for (int i = 0; i < SLIP_TILE_CODES / (16 / items); i++) {
        int item = i % items, row = i / items % SLIP_TILE_ROWS, column = i / items / SLIP_TILE_ROWS * items + item;
        const unsigned char *at = tile + i * (16 / items);
        float scale = 1;
        if (f8)
            memcpy(&scale, tile + SLIP_TILE_CODES + 4 * row, sizeof scale);
        b->value[row][column] = f8 ? (double)slip_e4m3_to_f32(*at) * scale : bf16_at(at);
        b->coded[row][column] = at[0] != 0 || (!f8 && at[1] != 0);
    }
}

/* As a warp does: thread lane takes uint4 j of 4; word h of it is the register pair of half h % 2 of block 2j + h / 2, rows g and
 * g + 8. Both come out as e4m3 of 2^-6 times the value. */
static void decode_mxfp4(const unsigned char *tile, block *b)
{
    for (int i = 0; i < SLIP_TILE_CODES; i++) {
        int warp = i / 2048, j = i / 512 % 4, lane = i / 16 % 32, h = i / 4 % 4, byte = i % 4;
        int g = lane / 4, scale_block = 2 * j + h / 2, column = scale_block * 32 + h % 2 * 16 + lane % 4 * 4 + byte;
        unsigned code[2] = {tile[i] & 0x9c, (tile[i] << 2 & 0x8c) | (tile[i] >> 2 & 0x10)};
        const unsigned char *scales = tile + SLIP_TILE_CODES + (warp * 8 + g) * 16;
        for (int second = 0; second < 2; second++) {
            int row = warp * 16 + g + 8 * second;
            b->value[row][column] = (double)slip_e4m3_to_f32((uint8_t)code[second]) * 64 *
                                    slip_e8m0_to_f32(scales[second * 8 + scale_block]);
            b->coded[row][column] = code[second] != 0 || scales[second * 8 + scale_block] != 127;
        }
    }
}

/* Element [plane][row][column] of one expert; the caller frees. Memory is walked from its beginning: chunk, row tile, tile. */
static double *unpack(const slip_cuda_matrix *m, const unsigned char *at)
{
    static block b;
    const unsigned char *begin = at;
    int planes = m->column_tiles / m->plane_tiles, width = slip_tile_columns(m->format);
    double *values = calloc((size_t)planes * (size_t)m->rows * (size_t)m->columns, sizeof *values);
    assert_non_null(values);
    for (int first = 0; first < m->column_tiles; first += m->chunk)
        for (int row_tile = 0; row_tile < m->row_tiles; row_tile++)
            for (int g = first; g < first + m->chunk && g < m->column_tiles; g++, at += slip_tile_bytes(m->format)) {
                if (m->format == SLIP_WEIGHT_MXFP4)
                    decode_mxfp4(at, &b);
                else
                    decode_slices(at, m->format == SLIP_WEIGHT_F8, &b);
                for (int r = 0; r < SLIP_TILE_ROWS; r++)
                    for (int c = 0; c < width; c++) {
                        int row = row_tile * SLIP_TILE_ROWS + r, column = g % m->plane_tiles * width + c;
                        if (row < m->rows && column < m->columns)
                            values[((int64_t)(g / m->plane_tiles) * m->rows + row) * m->columns + column] = b.value[r][c];
                        else
                            assert_true(b.value[r][c] == 0 && !b.coded[r][c]);
                    }
            }
    assert_int_equal(at - begin, m->expert_bytes);
    return values;
}

static bool same(double a, double b)
{
    return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b));
}

static void check_expert(const slip_weight *weight, int64_t expert, const slip_cuda_matrix *m, const double *values)
{
    int64_t size = weight->rows * weight->columns;
    for (int64_t i = 0; i < size; i++) {
        double want = tiny_weight_value(weight, expert, i / weight->columns, i % weight->columns);
        if (weight->dtype != SLIP_F32) {
            assert_true(same(values[i], want));
            continue;
        }
        assert_true(fabs(values[i] - want) <= fabs(want) * 0x1p-8);
        assert_true(fabs(values[i] + values[size + i] - want) <= fabs(want) * 0x1p-16);
    }
    assert_int_equal(m->column_tiles / m->plane_tiles, weight->dtype == SLIP_F32 ? 2 : 1);
}

/* Plan, pack into memory of another content, unpack; `chunk` > 0 overrides the plan's choice. */
static void check_weight(const slip_weight *weight, slip_cuda_use use, int chunk)
{
    slip_cuda_matrix m;
    assert_int_equal(slip_cuda_matrix_plan(weight->dtype, weight->experts, weight->rows, weight->columns, weight->scale_skew, use, &m),
                     SLIP_OK);
    if (chunk > 0 && chunk <= m.column_tiles) {
        m.chunk = chunk;
        m.chunks = (m.column_tiles + chunk - 1) / chunk;
    }
    unsigned char *packed = malloc((size_t)m.expert_bytes);
    assert_non_null(packed);
    for (int64_t e = 0; e < weight->experts; e++) {
        memset(packed, 0xa5, (size_t)m.expert_bytes);
        slip_cuda_matrix_pack(weight, e, &m, packed);
        double *values = unpack(&m, packed);
        check_expert(weight, e, &m, values);
        free(values);
    }
    free(packed);
}

static int64_t columns_for(slip_dtype dtype, int64_t columns)
{
    return dtype == SLIP_MXFP4 ? (columns + 31) / 32 * 32 : columns;
}

static void test_random_weights(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 24, 64, 53, 100}, columns[] = {24, 64, 127, 128, 200, 512, 700};
    for (int dtype = SLIP_F32; dtype < SLIP_DTYPES; dtype++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            for (size_t j = 0; j < sizeof columns / sizeof *columns; j++) {
                slip_range range = {128, columns_for((slip_dtype)dtype, columns[j])};
                slip_weight weight = tiny_weight_random((slip_dtype)dtype, i % 2 ? 3 : 1, rows[i], range, 1 + i + 10 * j);
                check_weight(&weight, i % 2 ? SLIP_USE_GATE_UP : SLIP_USE_LINEAR, 0);
                for (int chunk = 2; chunk <= 3; chunk++)
                    check_weight(&weight, i % 2 ? SLIP_USE_GATE_UP : SLIP_USE_LINEAR, chunk);
                tiny_weight_free(&weight);
            }
}

/* What has no number stays without one; a negative zero stays negative. */
static void test_special_codes(void **state)
{
    (void)state;
    slip_weight weight = tiny_weight_random(SLIP_F8E4M3, 1, 9, (slip_range){0, 256}, 3);
    weight.data[5] = 0x7f;
    weight.data[8 * 256 + 200] = 0xff;
    weight.data[7] = 0x80;
    check_weight(&weight, SLIP_USE_LINEAR, 0);
    tiny_weight_free(&weight);
    weight = tiny_weight_random(SLIP_MXFP4, 1, 16, (slip_range){0, 256}, 4);
    for (int i = 0; i < 16; i++) {
        weight.data[128 * i] = weight.data[128 * i + 77] = (unsigned char)(i | (15 - i) << 4);
        weight.scale[8 * i + i % 8] = (unsigned char)(i < 8 ? 255 : i % 2 ? 254 : 0);
    }
    check_weight(&weight, SLIP_USE_LINEAR, 0);
    tiny_weight_free(&weight);
}

static void check_planes(float value, double high, double low)
{
    slip_weight weight = tiny_weight_make(SLIP_F32, 1, 1, (slip_range){0, 24});
    slip_cuda_matrix m;
    memcpy(weight.data + 4 * 17, &value, sizeof value);
    assert_int_equal(slip_cuda_matrix_plan(SLIP_F32, 1, 1, 24, 0, SLIP_USE_LINEAR, &m), SLIP_OK);
    unsigned char *packed = malloc((size_t)m.expert_bytes);
    assert_non_null(packed);
    slip_cuda_matrix_pack(&weight, 0, &m, packed);
    double *values = unpack(&m, packed);
    assert_true(same(values[17], high) && same(values[24 + 17], low));
    free(values);
    free(packed);
    tiny_weight_free(&weight);
}

static void test_two_planes(void **state)
{
    (void)state;
    check_planes(1 + 0x1p-8f, 1, 0x1p-8); /* ties go to the even one */
    check_planes(1 + 0x3p-8f, 1 + 0x1p-6, -0x1p-8);
    check_planes(-1 - 0x1p-8f - 0x1p-23f, -1 - 0x1p-7, 0x1p-8); /* 2^-8 - 2^-23 rounds up */
    check_planes(0x1p-130f, 0x1p-130, 0);
    check_planes(INFINITY, INFINITY, 0);
    check_planes(-0x1.fffffep127f, -INFINITY, 0);
    check_planes(NAN, NAN, 0);
    check_planes(slip_f32_of_bits(0x7f800001), NAN, 0);
}

/* ---- cuts ---- */

/* Everything again, unit by unit: who streams which tiles, whose columns it needs. */
static void check_deal(const slip_cuda_matrix *m, int32_t sms)
{
    int64_t tiles = (int64_t)m->row_tiles * m->column_tiles, busiest = 0, arena = 0;
    unsigned char *seen = calloc((size_t)tiles, 1);
    assert_non_null(seen);
    for (int64_t cta = 0; cta < sms; cta++) {
        int64_t streamed = 0, needed = 0, last_chunk = -1;
        for (int64_t u = m->units * cta / sms; u < m->units * (cta + 1) / sms; u++) {
            int64_t chunk = u / m->row_tiles, row_tile = u % m->row_tiles;
            int64_t length = chunk == m->chunks - 1 ? m->column_tiles - chunk * m->chunk : m->chunk;
            for (int64_t g = 0; g < length; g++)
                assert_int_equal(seen[chunk * m->chunk * m->row_tiles + row_tile * length + g]++, 0);
            streamed += length;
            needed += chunk != last_chunk ? length : 0;
            last_chunk = chunk;
        }
        busiest = streamed > busiest ? streamed : busiest;
        arena = needed > arena ? needed : arena;
    }
    assert_null(memchr(seen, 0, (size_t)tiles));
    free(seen);
    assert_int_equal(slip_cuda_matrix_busiest(m, 1, sms), busiest);
    assert_int_equal(slip_cuda_matrix_arena(m, sms), arena * slip_tile_columns(m->format) * 8 * (m->format == SLIP_WEIGHT_BF16 ? 4 : 1));
}

static void check_plan(slip_dtype dtype, int64_t rows, int64_t columns, slip_cuda_use use)
{
    slip_cuda_matrix m;
    if (slip_cuda_matrix_plan(dtype, 5, rows, columns, 0, use, &m)) {
        assert_non_null(strstr(slip_cause(), "too wide"));
        slip_clear();
        assert_true(use && columns > (dtype <= SLIP_BF16 ? 2048 : 8192));
        return;
    }
    assert_null(m.data);
    assert_true(m.rows == rows && m.columns == columns);
    assert_true(m.row_tiles * 64 >= rows && (m.row_tiles - 1) * 64 < rows);
    int64_t width = slip_tile_columns(m.format);
    assert_true(m.plane_tiles * width >= columns && (m.plane_tiles - 1) * width < columns);
    assert_int_equal(m.column_tiles, m.plane_tiles * (dtype == SLIP_F32 ? 2 : 1));
    assert_true(m.chunk * m.chunks >= m.column_tiles && m.chunk * (m.chunks - 1) < m.column_tiles);
    assert_true(dtype != SLIP_F32 || m.plane_tiles % m.chunk == 0);
    assert_int_equal(m.expert_bytes, (int64_t)m.row_tiles * m.column_tiles * slip_tile_bytes(m.format));
    assert_int_equal(slip_cuda_matrix_bytes(&m, 5), 5 * m.expert_bytes);
    assert_true(use != SLIP_USE_GATE_UP || m.chunks <= SLIP_GATE_UP_PARTS);
    assert_int_equal(m.units, m.chunks * m.row_tiles);
    static const int32_t sms[] = {132, 528, 114, 160, 7, 1};
    for (size_t i = 0; i < sizeof sms / sizeof *sms; i++) {
        check_deal(&m, sms[i]);
        if (!use && (sms[i] == SLIP_ARCH_SMS || sms[i] >= m.chunks))
            assert_true(slip_cuda_matrix_arena(&m, sms[i]) <= SLIP_OPERAND_BYTES);
    }
    if (use)
        assert_true(slip_cuda_matrix_row_bytes(&m) <= SLIP_OPERAND_BYTES);
}

static void test_many_plans(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 53, 64, 65, 100, 384, 1000, 4096, 19072};
    static const int64_t columns[] = {24, 64, 128, 200, 256, 512, 1000, 2048, 6144, 8192, 16384, 24576, 50000, 67584};
    for (int dtype = SLIP_F32; dtype < SLIP_DTYPES; dtype++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
                for (int experts = 0; experts < 2; experts++)
                    check_plan((slip_dtype)dtype, rows[i], columns_for((slip_dtype)dtype, columns[j]), experts);
}

/* Few row tiles and near the widest: more chunks than CTAs are tempting, and the bound of the arena decides. */
static void test_wide_plans(void **state)
{
    (void)state;
    for (int64_t row_tiles = 1; row_tiles <= 140; row_tiles += row_tiles < 8 ? 1 : 11)
        for (int64_t percent = 52; percent <= 100; percent += 6)
            for (int dtype = SLIP_BF16; dtype < SLIP_DTYPES; dtype++) {
                int64_t widest = SLIP_ARCH_SMS * (dtype == SLIP_BF16 ? 1024 : 4096);
                check_plan((slip_dtype)dtype, 64 * row_tiles, widest * percent / 100 / 32 * 32, SLIP_USE_LINEAR);
            }
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    slip_cuda_matrix m;
    assert_int_equal(slip_cuda_matrix_plan(SLIP_BF16, 0, 64, 64, 0, SLIP_USE_GATE_UP, &m), SLIP_OK);
    assert_int_equal(slip_cuda_matrix_bytes(&m, 0), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(slip_cuda_matrix_plan(SLIP_MXFP4, 4, i ? 0 : 64, i ? 64 : 0, 0, SLIP_USE_LINEAR, &m), SLIP_OK);
        assert_true(m.units == 0 && m.chunks == 0 && slip_cuda_matrix_bytes(&m, 4) == 0);
        assert_true(slip_cuda_matrix_arena(&m, 132) == 0 && slip_cuda_matrix_busiest(&m, 4, 132) == 0);
        slip_cuda_matrix_pack(&(slip_weight){.dtype = SLIP_MXFP4, .experts = 4}, 3, &m, NULL);
    }
}

static void refuse(slip_dtype dtype, int64_t experts, int64_t rows, int64_t columns, int64_t skew, const char *words)
{
    slip_cuda_matrix m = {.rows = 77};
    assert_int_equal(slip_cuda_matrix_plan(dtype, experts, rows, columns, skew, SLIP_USE_LINEAR, &m), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), words));
    assert_int_equal(m.rows, 77);
    slip_clear();
}

static void test_refusals(void **state)
{
    (void)state;
    refuse(SLIP_F8E4M3, 1, 64, 128, 64, "begin 64 columns into one");
    refuse(SLIP_MXFP4, 1, 64, 40, 0, "part of a block");
    refuse(SLIP_BF16, 1, 64, 132 * 1024 + 1, 0, "at most 135168");
    refuse(SLIP_F32, 1, 64, 66 * 1024 + 1, 0, "at most 67584");
    refuse(SLIP_BF16, 1, (int64_t)1 << 31, 64, 0, "beyond");
    refuse(SLIP_BF16, 1, 64, (int64_t)1 << 33, 0, "beyond");
    refuse(SLIP_BF16, 1, INT32_MAX - 64, 135168, 0, "beyond");
    refuse(SLIP_BF16, INT64_MAX / 8192 + 1, 64, 64, 0, "beyond");
    refuse(SLIP_BF16, -1, 64, 64, 0, "beyond");
    refuse((slip_dtype)99, 1, 64, 64, 0, "beyond");
}

/* ---- the published models: how evenly the warpgroups of 132 SMs are loaded ---- */

static const struct {
    slip_dtype dtype;
    slip_cuda_use use;
    int64_t rows, columns;
    double percent; /* over the mean, at most, beyond two stages of two tiles */
} published[] = {
    {SLIP_F8E4M3, SLIP_USE_LINEAR, 3392, 6144, 25}, /* Pro, an eighth: qkv, o, router, head, experts, the dense layer */
    {SLIP_BF16, SLIP_USE_LINEAR, 6144, 2048, 5},    /* evenness beyond that would cost more in partial sums */
    {SLIP_BF16, SLIP_USE_LINEAR, 384, 6144, 0},      {SLIP_BF16, SLIP_USE_LINEAR, 19072, 6144, 5},
    {SLIP_MXFP4, SLIP_USE_GATE_UP, 512, 6144, 11},   {SLIP_MXFP4, SLIP_USE_DOWN, 6144, 256, 2},
    {SLIP_F8E4M3, SLIP_USE_LINEAR, 4096, 6144, 5},   {SLIP_F8E4M3, SLIP_USE_LINEAR, 6144, 2048, 5},
    {SLIP_F8E4M3, SLIP_USE_LINEAR, 14848, 4096, 15}, /* Flash, whole */
    {SLIP_F8E4M3, SLIP_USE_LINEAR, 13568, 4096, 18}, {SLIP_BF16, SLIP_USE_LINEAR, 4096, 8192, 5},
    {SLIP_F32, SLIP_USE_LINEAR, 256, 4096, 0},       {SLIP_BF16, SLIP_USE_LINEAR, 152576, 4096, 5},
    {SLIP_MXFP4, SLIP_USE_GATE_UP, 4096, 4096, 5},   {SLIP_MXFP4, SLIP_USE_DOWN, 4096, 2048, 11},
    {SLIP_F8E4M3, SLIP_USE_LINEAR, 32768, 4096, 5},  {SLIP_F8E4M3, SLIP_USE_LINEAR, 4096, 16384, 5},
};

static void test_published_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        slip_cuda_matrix m;
        int64_t experts = published[i].use != SLIP_USE_LINEAR ? SLIP_PLAN_EXPERTS : 1;
        assert_int_equal(slip_cuda_matrix_plan(published[i].dtype, 384, published[i].rows, published[i].columns, 0, published[i].use, &m),
                         SLIP_OK);
        double mean = (double)(experts * m.row_tiles * m.column_tiles) / SLIP_PLAN_WARPGROUPS;
        double most = fmax(mean * (1 + published[i].percent / 100), 2 * SLIP_STAGE_TILES);
        assert_true((double)slip_cuda_matrix_busiest(&m, experts, SLIP_PLAN_WARPGROUPS) <= most);
        assert_true(published[i].use != SLIP_USE_LINEAR || slip_cuda_matrix_arena(&m, SLIP_ARCH_SMS) <= SLIP_OPERAND_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_weights), cmocka_unit_test(test_special_codes),    cmocka_unit_test(test_two_planes),
        cmocka_unit_test(test_many_plans),     cmocka_unit_test(test_wide_plans),       cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_published_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
