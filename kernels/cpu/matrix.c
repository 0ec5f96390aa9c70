#include "kernels/cpu/matrix.h"

#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"

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

static void *room(slip_large_pieces *pieces, size_t bytes)
{
    return pieces ? slip_large_piece(pieces, bytes) : slip_large_alloc(bytes);
}

slip_status slip_matrix_make(const slip_weight *form, slip_large_pieces *pieces, slip_matrix *matrix)
{
    slip_matrix m = {.dtype = form->dtype, .experts = form->experts, .rows = form->rows, .columns = form->columns, .shares = pieces};
    m.groups = (m.rows + SLIP_GROUP - 1) / SLIP_GROUP;
    m.blocks = slip_padded(m.columns) / SLIP_MXFP4_BLOCK;
    size_t blocks = (size_t)(m.experts * m.groups * m.blocks);
    m.data = room(pieces, blocks * slip_block_bytes(m.dtype));
    if (m.dtype == SLIP_F8E4M3)
        m.scale_f32 = room(pieces, blocks * SLIP_GROUP * sizeof(float));
    if (m.dtype == SLIP_MXFP4)
        m.scale_e8m0 = room(pieces, blocks * SLIP_GROUP);
    if (!m.data || (m.dtype == SLIP_F8E4M3 && !m.scale_f32) || (m.dtype == SLIP_MXFP4 && !m.scale_e8m0)) {
        slip_matrix_free(&m);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a weight of %lld x %lld x %lld", (long long)form->experts,
                         (long long)form->rows, (long long)form->columns);
    }
    *matrix = m;
    return SLIP_OK;
}

/* ---- packing ---- */

typedef unsigned char bytes16 __attribute__((vector_size(16)));

/* a[i] and a[i + 8], byte by byte: a step of a transposition in which the bits of (row, column) turn by one place. */
static void interleave(const bytes16 *a, bytes16 *out)
{
    for (int i = 0; i < 8; i++) {
        out[2 * i] = __builtin_shufflevector(a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        out[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
}

/* 16 bytes of each row, column by column. */
static void transpose_bytes(const unsigned char *const row[static SLIP_GROUP], size_t at, unsigned char *out)
{
    bytes16 a[SLIP_GROUP], b[SLIP_GROUP];
    for (int r = 0; r < SLIP_GROUP; r++)
        memcpy(&a[r], row[r] + at, sizeof a[r]);
    interleave(a, b);
    interleave(b, a);
    interleave(a, b);
    interleave(b, a);
    memcpy(out, a, sizeof a);
}

static void transpose_16(const unsigned char *const row[static SLIP_GROUP], unsigned char *out)
{
    for (size_t c = 0; c < SLIP_MXFP4_BLOCK; c++)
        for (size_t r = 0; r < SLIP_GROUP; r++)
            memcpy(out + (c * SLIP_GROUP + r) * 2, row[r] + c * 2, 2);
}

static void transpose_32(const unsigned char *const row[static SLIP_GROUP], unsigned char *out)
{
    for (size_t c = 0; c < SLIP_MXFP4_BLOCK; c++)
        for (size_t r = 0; r < SLIP_GROUP; r++)
            memcpy(out + (c * SLIP_GROUP + r) * 4, row[r] + c * 4, 4);
}

/* One block, whose rows begin there. */
static void pack_block(slip_dtype dtype, const unsigned char *const row[static SLIP_GROUP], unsigned char *out)
{
    if (dtype == SLIP_F32)
        transpose_32(row, out);
    else if (dtype == SLIP_BF16)
        transpose_16(row, out);
    else
        for (size_t at = 0; at * SLIP_GROUP < slip_block_bytes(dtype); at += SLIP_GROUP)
            transpose_bytes(row, at, out + at * SLIP_GROUP);
}

/* A group of rows, `count` of which exist. */
static void pack_codes(const slip_weight *weight, int64_t first, int64_t count, int64_t blocks, unsigned char *out)
{
    enum { WIDEST = SLIP_MXFP4_BLOCK * sizeof(float) }; /* a block of one row */
    unsigned char rest[SLIP_GROUP][WIDEST] = {{0}};
    const unsigned char *row[SLIP_GROUP];
    size_t step = slip_block_bytes(weight->dtype) / SLIP_GROUP, whole = weight->row_bytes / step;
    for (int64_t r = 0; r < SLIP_GROUP; r++) {
        row[r] = r < count ? weight->data + (size_t)(first + r) * weight->row_bytes : rest[r];
        if (r < count)
            memcpy(rest[r], row[r] + whole * step, weight->row_bytes - whole * step);
    }
    for (size_t b = 0; b < (size_t)blocks; b++, out += step * SLIP_GROUP) {
        for (int64_t r = 0; r < count && b == whole; r++)
            row[r] = rest[r];
        pack_block(weight->dtype, row, out);
        for (int64_t r = 0; r < count; r++)
            row[r] += step;
    }
}

/* Its scales: 16 a block. */
static void pack_scales(const slip_weight *weight, int64_t first, int64_t count, slip_matrix *matrix, size_t at)
{
    for (int64_t b = 0; b < matrix->blocks; b++, at += SLIP_GROUP)
        for (int64_t r = 0; r < SLIP_GROUP; r++) {
            int64_t row = (first + r) * weight->scale_columns;
            if (weight->dtype == SLIP_MXFP4)
                matrix->scale_e8m0[at + (size_t)r] = r < count ? weight->scale[row + b] : 0;
            else
                matrix->scale_f32[at + (size_t)r] =
                    r < count ? ((const float *)weight->scale)[row + (weight->scale_skew + b * SLIP_MXFP4_BLOCK) / SLIP_F8_BLOCK] : 0;
        }
}

void slip_matrix_pack(const slip_weight *weight, int64_t from, slip_matrix *matrix, int64_t to)
{
    for (int64_t row = 0; row < weight->rows; row += SLIP_GROUP) {
        int64_t left = weight->rows - row, count = left < SLIP_GROUP ? left : SLIP_GROUP;
        size_t block = block_index(matrix, to, weight->first_row + row, 0);
        pack_codes(weight, from * weight->rows + row, count, matrix->blocks, matrix->data + block * slip_block_bytes(matrix->dtype));
        if (weight->scale)
            pack_scales(weight, from * weight->rows + row, count, matrix, block * SLIP_GROUP);
    }
}

void slip_matrix_free(slip_matrix *matrix)
{
    if (!matrix->shares) {
        free(matrix->data);
        free(matrix->scale_f32);
        free(matrix->scale_e8m0);
    }
    *matrix = (slip_matrix){0};
}

uint64_t slip_matrix_bytes(const slip_matrix *matrix)
{
    uint64_t scales = matrix->dtype == SLIP_MXFP4 ? 1 : matrix->dtype == SLIP_F8E4M3 ? 4 : 0;
    return (uint64_t)(matrix->groups * matrix->blocks) * (slip_block_bytes(matrix->dtype) + scales * SLIP_GROUP);
}

/* Block by block: an in-block head reads a hundred rows a slot. */
static void bf16_row(const slip_matrix *matrix, int64_t row, float *out)
{
    for (int64_t first = 0; first < matrix->columns; first += SLIP_MXFP4_BLOCK) {
        const unsigned char *at = element(matrix, 0, row, first);
        const int64_t left = matrix->columns - first, count = left < SLIP_MXFP4_BLOCK ? left : SLIP_MXFP4_BLOCK;
        for (int64_t c = 0; c < count; c++, at += SLIP_GROUP * sizeof(uint16_t)) {
            uint16_t half;
            memcpy(&half, at, sizeof half);
            out[first + c] = slip_bf16_to_f32(half);
        }
    }
}

void slip_matrix_row(const slip_matrix *matrix, int64_t row, float *out)
{
    if (matrix->dtype == SLIP_BF16) {
        bf16_row(matrix, row, out);
        return;
    }
    for (int64_t c = 0; c < matrix->columns; c++) {
        const unsigned char *at = element(matrix, 0, row, c);
        size_t scale = block_index(matrix, 0, row, c) * SLIP_GROUP + (size_t)(row % SLIP_GROUP);
        switch (matrix->dtype) {
        case SLIP_F32: memcpy(&out[c], at, 4); break;
        case SLIP_F8E4M3: out[c] = slip_e4m3_to_f32(*at) * matrix->scale_f32[scale]; break;
        default: out[c] = slip_e2m1_to_f32(c % 2 ? *at >> 4 : *at & 15) * slip_e8m0_to_f32(matrix->scale_e8m0[scale]); break;
        }
    }
}
