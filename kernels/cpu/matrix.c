#include "kernels/cpu/matrix.h"

#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"

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
    return (size_t)((expert * matrix->groups + row / SLIP_GROUP) * matrix->blocks + column / SLIP_MXFP4_BLOCK);
}

/* The bytes of one column pair (mxfp4) or column of a row. */
static unsigned char *element(const slip_matrix *matrix, int64_t expert, int64_t row, int64_t column)
{
    unsigned char *block = matrix->data + block_index(matrix, expert, row, column) * slip_block_bytes(matrix->dtype);
    int64_t c = column % SLIP_MXFP4_BLOCK, r = row % SLIP_GROUP;
    size_t bytes = (size_t)slip_dtype_item_bytes(matrix->dtype);
    return block + (size_t)((matrix->dtype == SLIP_MXFP4 ? c / 2 : c) * SLIP_GROUP + r) * bytes;
}

static void pack_row(const slip_weight *weight, int64_t expert, int64_t row, slip_matrix *matrix)
{
    int64_t stored = expert * weight->rows + row, lane = row % SLIP_GROUP;
    const unsigned char *from = weight->data + (size_t)stored * weight->row_bytes;
    size_t bytes = (size_t)slip_dtype_item_bytes(weight->dtype);
    int64_t step = weight->dtype == SLIP_MXFP4 ? 2 : 1;
    for (int64_t c = 0; c < weight->columns; c += step, from += bytes)
        memcpy(element(matrix, expert, row, c), from, bytes);
    for (int64_t b = 0; b < matrix->blocks; b++) {
        size_t at = block_index(matrix, expert, row, b * SLIP_MXFP4_BLOCK) * SLIP_GROUP + (size_t)lane;
        if (weight->dtype == SLIP_MXFP4)
            matrix->scale_e8m0[at] = weight->scale[stored * weight->scale_columns + b];
        if (weight->dtype == SLIP_F8E4M3)
            matrix->scale_f32[at] =
                ((const float *)
                     weight->scale)[stored * weight->scale_columns + (weight->scale_skew + b * SLIP_MXFP4_BLOCK) / SLIP_F8_BLOCK];
    }
}

slip_status slip_matrix_pack(const slip_weight *weight, slip_matrix *matrix)
{
    slip_matrix m = {.dtype = weight->dtype, .experts = weight->experts, .rows = weight->rows, .columns = weight->columns};
    m.groups = (m.rows + SLIP_GROUP - 1) / SLIP_GROUP;
    m.blocks = slip_padded(m.columns) / SLIP_MXFP4_BLOCK;
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

void slip_matrix_row(const slip_matrix *matrix, int64_t row, float *out)
{
    uint16_t half;
    for (int64_t c = 0; c < matrix->columns; c++) {
        const unsigned char *at = element(matrix, 0, row, c);
        size_t scale = block_index(matrix, 0, row, c) * SLIP_GROUP + (size_t)(row % SLIP_GROUP);
        switch (matrix->dtype) {
        case SLIP_F32: memcpy(&out[c], at, 4); break;
        case SLIP_BF16:
            memcpy(&half, at, 2);
            out[c] = slip_bf16_to_f32(half);
            break;
        case SLIP_F8E4M3: out[c] = slip_e4m3_to_f32(*at) * matrix->scale_f32[scale]; break;
        default: out[c] = slip_e2m1_to_f32(c % 2 ? *at >> 4 : *at & 15) * slip_e8m0_to_f32(matrix->scale_e8m0[scale]); break;
        }
    }
}
