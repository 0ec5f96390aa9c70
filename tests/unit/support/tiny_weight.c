#include "tiny_weight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ranks/model/mxfp4.h"
#include "tiny_random.h"

static size_t code_bytes(slip_dtype dtype, int64_t columns)
{
    return (size_t)(dtype == SLIP_F32 ? 4 * columns : dtype == SLIP_BF16 ? 2 * columns : dtype == SLIP_F8E4M3 ? columns : columns / 2);
}

slip_weight tiny_weight_make(slip_dtype dtype, int64_t experts, int64_t rows, slip_range columns)
{
    slip_weight w = {
        .dtype = dtype, .experts = experts, .rows = rows, .columns = columns.count, .row_bytes = code_bytes(dtype, columns.count)};
    assert_true(dtype != SLIP_MXFP4 || (columns.first % 32 == 0 && columns.count % 32 == 0));
    if (dtype == SLIP_MXFP4)
        w.scale_columns = columns.count / 32;
    if (dtype == SLIP_F8E4M3 && columns.count > 0) {
        w.scale_columns = (columns.first + columns.count + 127) / 128 - columns.first / 128;
        w.scale_skew = columns.first % 128;
    }
    w.data = calloc((size_t)(experts * rows) * w.row_bytes + 1, 1);
    w.scale = w.scale_columns ? calloc((size_t)(experts * rows * w.scale_columns) + 1, sizeof(float)) : NULL;
    assert_true(w.data && (w.scale || !w.scale_columns));
    return w;
}

void tiny_weight_free(slip_weight *weight)
{
    free(weight->data);
    free(weight->scale);
    *weight = (slip_weight){0};
}

/* A position in the whole matrix as one number. */
static uint64_t place(const tiny_origin *origin, int64_t row, int64_t column)
{
    return ((uint64_t)origin->expert << 48) ^ ((uint64_t)row << 24) ^ (uint64_t)column;
}

static void put_code(slip_dtype dtype, const tiny_origin *origin, int64_t column, unsigned char *row, int64_t at)
{
    uint64_t where = place(origin, origin->row, column);
    float value = origin->size * tiny_uniform(origin->key, where) + (origin->about_one ? 1.0f : 0.0f);
    uint32_t bits, code = tiny_below(origin->key, where, 256);
    memcpy(&bits, &value, sizeof bits);
    uint16_t half = (uint16_t)(bits >> 16);
    switch (dtype) {
    case SLIP_F32: memcpy(row + 4 * at, &bits, sizeof bits); break;
    case SLIP_BF16: memcpy(row + 2 * at, &half, sizeof half); break;
    case SLIP_F8E4M3: row[at] = (unsigned char)((code & 127) == 127 ? code - 1 : code); break;
    default: row[at / 2] |= (unsigned char)((code & 15) << (at % 2 * 4)); break;
    }
}

void tiny_weight_row(slip_weight *weight, int64_t expert, int64_t row, slip_range columns, const tiny_origin *origin)
{
    int64_t local = expert * weight->rows + row;
    for (int64_t c = 0; c < columns.count; c++)
        put_code(weight->dtype, origin, columns.first + c, weight->data + (size_t)local * weight->row_bytes, c);
    for (int64_t b = 0; b < weight->scale_columns; b++) {
        if (weight->dtype == SLIP_F8E4M3) { /* most codes are below 32: the mean square of all is that of 90 */
            uint64_t where = place(origin, origin->row / 128, columns.first / 128 + b);
            float scale = origin->size / 90 * (1.0f + 0.5f * tiny_uniform(origin->key + 1, where));
            memcpy(weight->scale + 4 * (local * weight->scale_columns + b), &scale, sizeof scale);
        } else {
            uint64_t where = place(origin, origin->row, columns.first / 32 + b);
            weight->scale[local * weight->scale_columns + b] =
                (unsigned char)(127 + (int)floorf(log2f(origin->size / 4)) + (int)tiny_below(origin->key + 1, where, 3));
        }
    }
}

slip_weight tiny_weight_random(slip_dtype dtype, int64_t experts, int64_t rows, slip_range columns, uint64_t key)
{
    slip_weight weight = tiny_weight_make(dtype, experts, rows, columns);
    for (int64_t e = 0; e < experts; e++)
        for (int64_t r = 0; r < rows; r++)
            tiny_weight_row(&weight, e, r, columns, &(tiny_origin){.key = key, .expert = e, .row = r, .size = 0.5f});
    return weight;
}

double tiny_weight_value(const slip_weight *weight, int64_t expert, int64_t row, int64_t column)
{
    int64_t local = expert * weight->rows + row;
    const unsigned char *data = weight->data + (size_t)local * weight->row_bytes;
    float f32, scale;
    uint16_t half;
    switch (weight->dtype) {
    case SLIP_F32: memcpy(&f32, data + 4 * column, sizeof f32); return f32;
    case SLIP_BF16: memcpy(&half, data + 2 * column, sizeof half); return slip_bf16_to_f32(half);
    case SLIP_F8E4M3:
        memcpy(&scale, weight->scale + 4 * (local * weight->scale_columns + (weight->scale_skew + column) / 128), sizeof scale);
        return (double)slip_e4m3_to_f32(data[column]) * scale;
    default:
        return (double)slip_e2m1_to_f32((uint8_t)(data[column / 2] >> (column % 2 * 4))) *
               slip_e8m0_to_f32(weight->scale[local * weight->scale_columns + column / 32]);
    }
}

slip_status tiny_weight_pack(const slip_weight *weight, slip_matrix *matrix)
{
    slip_status status = slip_matrix_make(weight, NULL, matrix);
    for (int64_t e = 0; e < weight->experts && status == SLIP_OK; e++)
        slip_matrix_pack(weight, e, matrix, e);
    return status;
}

slip_status tiny_weight_load(slip_executor *executor, int32_t index, const slip_weight *weight)
{
    slip_status status = slip_executor_cpu.place(executor, index, weight);
    for (int64_t e = 0; e < weight->experts && status == SLIP_OK; e++)
        slip_executor_cpu.pack(executor, index, weight, e, e, NULL);
    return status == SLIP_OK ? slip_executor_cpu.store(executor, index, 0, weight->experts, NULL) : status;
}
