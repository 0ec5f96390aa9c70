#include "kernels/cpu/matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t block_bytes[SLIP_DTYPES] = {
    [SLIP_F32] = 128, [SLIP_BF16] = 64, [SLIP_F8E4M3] = 32, [SLIP_MXFP4] = 16};

static void *allocate(size_t size)
{
    size_t rounded = (size + 63) / 64 * 64;
    void *memory = aligned_alloc(64, rounded ? rounded : 64);
    if (memory)
        memset(memory, 0, rounded);
    return memory;
}

/* 16 bytes of 32 codes: from (2j, 2j+1) in byte j to (j, j+16) in byte j. */
static void interleave_mxfp4(const unsigned char *from, unsigned char *to)
{
    unsigned char code[SLIP_BLOCK];
    for (int j = 0; j < 16; j++) {
        code[2 * j] = from[j] & 15;
        code[2 * j + 1] = from[j] >> 4;
    }
    for (int j = 0; j < 16; j++)
        to[j] = (unsigned char)(code[j] | code[j + 16] << 4);
}

static void pack_row(const slip_weight *weight, int64_t row, slip_matrix *matrix)
{
    const unsigned char *from = weight->data + (size_t)row * weight->row_bytes;
    unsigned char *to = matrix->data + (size_t)row * matrix->row_bytes;
    if (weight->dtype != SLIP_MXFP4) {
        memcpy(to, from, weight->row_bytes);
    } else {
        for (int64_t b = 0; b < matrix->blocks; b++)
            interleave_mxfp4(from + 16 * b, to + 16 * b);
        memcpy(matrix->scale_e8m0 + row * matrix->blocks, weight->scale + row * matrix->blocks, (size_t)matrix->blocks);
    }
    if (weight->dtype == SLIP_F8E4M3) {
        const float *scale = (const float *)weight->scale + row * weight->scale_columns;
        for (int64_t b = 0; b < matrix->blocks; b++)
            matrix->scale_f32[row * matrix->blocks + b] = scale[(weight->scale_skew + b * SLIP_BLOCK) / 128];
    }
}

slip_status slip_matrix_pack(const slip_weight *weight, slip_matrix *matrix)
{
    slip_matrix m = {.dtype = weight->dtype, .experts = weight->experts, .rows = weight->rows, .columns = weight->columns};
    m.blocks = slip_padded(m.columns) / SLIP_BLOCK;
    m.row_bytes = (size_t)m.blocks * block_bytes[m.dtype];
    int64_t rows = m.experts * m.rows;
    m.data = allocate((size_t)rows * m.row_bytes);
    if (m.dtype == SLIP_F8E4M3)
        m.scale_f32 = allocate((size_t)(rows * m.blocks) * sizeof(float));
    if (m.dtype == SLIP_MXFP4)
        m.scale_e8m0 = allocate((size_t)(rows * m.blocks));
    if (!m.data || (m.dtype == SLIP_F8E4M3 && !m.scale_f32) || (m.dtype == SLIP_MXFP4 && !m.scale_e8m0)) {
        slip_matrix_free(&m);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a weight of %lld x %lld", (long long)rows,
                         (long long)m.columns);
    }
    for (int64_t row = 0; row < rows; row++)
        pack_row(weight, row, &m);
    *matrix = m;
    return SLIP_OK;
}

void slip_matrix_free(slip_matrix *matrix)
{
    free(matrix->data);
    free(matrix->scale_f32);
    free(matrix->scale_e8m0);
    *matrix = (slip_matrix){0};
}

uint64_t slip_matrix_bytes(const slip_matrix *matrix)
{
    uint64_t scales = matrix->dtype == SLIP_MXFP4 ? 1 : matrix->dtype == SLIP_F8E4M3 ? 4 : 0;
    return (uint64_t)matrix->rows * (matrix->row_bytes + scales * (uint64_t)matrix->blocks);
}

static float bf16_value(const unsigned char *bytes)
{
    uint16_t half;
    memcpy(&half, bytes, 2);
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* E4M3: 4 exponent bits of bias 7, subnormals, no infinities; 0x7f is not a number. */
static float f8_value(unsigned code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    float magnitude = exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
    if ((code & 127) == 127)
        magnitude = NAN;
    return code & 128 ? -magnitude : magnitude;
}

static float mxfp4_value(const slip_matrix *matrix, int64_t row, int64_t column)
{
    static const float value[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    int64_t block = column / SLIP_BLOCK, j = column % SLIP_BLOCK;
    unsigned byte = matrix->data[(size_t)row * matrix->row_bytes + (size_t)(16 * block + j % 16)];
    unsigned code = j < 16 ? byte & 15 : byte >> 4;
    float magnitude = ldexpf(value[code & 7], matrix->scale_e8m0[row * matrix->blocks + block] - 127);
    return code & 8 ? -magnitude : magnitude;
}

void slip_matrix_row(const slip_matrix *matrix, int64_t row, float *out)
{
    const unsigned char *data = matrix->data + (size_t)row * matrix->row_bytes;
    for (int64_t c = 0; c < matrix->columns; c++) {
        switch (matrix->dtype) {
        case SLIP_F32: memcpy(&out[c], data + 4 * c, 4); break;
        case SLIP_BF16: out[c] = bf16_value(data + 2 * c); break;
        case SLIP_F8E4M3: out[c] = f8_value(data[c]) * matrix->scale_f32[row * matrix->blocks + c / SLIP_BLOCK]; break;
        default: out[c] = mxfp4_value(matrix, row, c); break;
        }
    }
}
