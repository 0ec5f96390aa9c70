#include "kernels/cpu/matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(size_t size)
{
    size_t rounded = (size + 63) / 64 * 64;
    void *memory = aligned_alloc(64, rounded ? rounded : 64);
    if (memory)
        memset(memory, 0, rounded);
    return memory;
}

/* Index of the block of (expert, row, column); its row within the group is row % SLIP_GROUP. */
static size_t block_index(const slip_matrix *matrix, int64_t expert, int64_t row, int64_t column)
{
    return (size_t)((expert * matrix->groups + row / SLIP_GROUP) * matrix->blocks + column / SLIP_BLOCK);
}

/* The bytes of one column pair (mxfp4) or column of a row. */
static unsigned char *element(const slip_matrix *matrix, int64_t expert, int64_t row, int64_t column)
{
    unsigned char *block = matrix->data + block_index(matrix, expert, row, column) * slip_block_bytes(matrix->dtype);
    int64_t c = column % SLIP_BLOCK, r = row % SLIP_GROUP;
    size_t bytes = matrix->dtype == SLIP_F32 ? 4 : matrix->dtype == SLIP_BF16 ? 2 : 1;
    return block + (size_t)((matrix->dtype == SLIP_MXFP4 ? c / 2 : c) * SLIP_GROUP + r) * bytes;
}

static void pack_row(const slip_weight *weight, int64_t expert, int64_t row, slip_matrix *matrix)
{
    int64_t stored = expert * weight->rows + row, lane = row % SLIP_GROUP;
    const unsigned char *from = weight->data + (size_t)stored * weight->row_bytes;
    size_t bytes = weight->dtype == SLIP_F32 ? 4 : weight->dtype == SLIP_BF16 ? 2 : 1;
    int64_t step = weight->dtype == SLIP_MXFP4 ? 2 : 1;
    for (int64_t c = 0; c < weight->columns; c += step, from += bytes)
        memcpy(element(matrix, expert, row, c), from, bytes);
    for (int64_t b = 0; b < matrix->blocks; b++) {
        size_t at = block_index(matrix, expert, row, b * SLIP_BLOCK) * SLIP_GROUP + (size_t)lane;
        if (weight->dtype == SLIP_MXFP4)
            matrix->scale_e8m0[at] = weight->scale[stored * weight->scale_columns + b];
        if (weight->dtype == SLIP_F8E4M3)
            matrix->scale_f32[at] = ((const float *)weight->scale)[stored * weight->scale_columns +
                                                                   (weight->scale_skew + b * SLIP_BLOCK) / 128];
    }
}

slip_status slip_matrix_pack(const slip_weight *weight, slip_matrix *matrix)
{
    slip_matrix m = {.dtype = weight->dtype, .experts = weight->experts, .rows = weight->rows, .columns = weight->columns};
    m.groups = (m.rows + SLIP_GROUP - 1) / SLIP_GROUP;
    m.blocks = slip_padded(m.columns) / SLIP_BLOCK;
    size_t blocks = (size_t)(m.experts * m.groups * m.blocks);
    m.data = allocate(blocks * slip_block_bytes(m.dtype));
    if (m.dtype == SLIP_F8E4M3)
        m.scale_f32 = allocate(blocks * SLIP_GROUP * sizeof(float));
    if (m.dtype == SLIP_MXFP4)
        m.scale_e8m0 = allocate(blocks * SLIP_GROUP);
    if (!m.data || (m.dtype == SLIP_F8E4M3 && !m.scale_f32) || (m.dtype == SLIP_MXFP4 && !m.scale_e8m0)) {
        slip_matrix_free(&m);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a weight of %lld x %lld x %lld", (long long)weight->experts,
                         (long long)weight->rows, (long long)weight->columns);
    }
    for (int64_t expert = 0; expert < m.experts; expert++)
        for (int64_t row = 0; row < m.rows; row++)
            pack_row(weight, expert, row, &m);
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
    return (uint64_t)(matrix->groups * matrix->blocks) * (slip_block_bytes(matrix->dtype) + scales * SLIP_GROUP);
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

/* E2M1 magnitudes; bit 3 is the sign. */
static float fp4_value(unsigned code)
{
    static const float value[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    return code & 8 ? -value[code & 7] : value[code & 7];
}

static float e8m0_value(unsigned char byte)
{
    return byte == 255 ? NAN : ldexpf(1, byte - 127);
}

void slip_matrix_row(const slip_matrix *matrix, int64_t row, float *out)
{
    for (int64_t c = 0; c < matrix->columns; c++) {
        const unsigned char *at = element(matrix, 0, row, c);
        size_t scale = block_index(matrix, 0, row, c) * SLIP_GROUP + (size_t)(row % SLIP_GROUP);
        switch (matrix->dtype) {
        case SLIP_F32: memcpy(&out[c], at, 4); break;
        case SLIP_BF16: out[c] = bf16_value(at); break;
        case SLIP_F8E4M3: out[c] = f8_value(*at) * matrix->scale_f32[scale]; break;
        default: out[c] = fp4_value(c % 2 ? *at >> 4 : *at & 15) * e8m0_value(matrix->scale_e8m0[scale]); break;
        }
    }
}
