/* A weight in the CPU executor's layout: groups of 16 rows, so that 16 lanes hold 16 rows and no sum crosses lanes.
 *
 *   [experts][groups][blocks of SLIP_MXFP4_BLOCK columns][column][16 rows]
 *
 * One block: f32 2048 bytes, bf16 1024, f8e4m3 512; mxfp4 256, where a byte holds columns 2j (low nibble) and 2j + 1 of its
 * row. Rows and columns that do not exist are zeros. Scales: 16 a block, one a row.
 */
#ifndef SLIP_KERNELS_CPU_MATRIX_H
#define SLIP_KERNELS_CPU_MATRIX_H

#include "io/base/memory/large.h"
#include "io/base/status.h"
#include "ranks/model/program.h"

enum { SLIP_GROUP = 16 };

typedef struct {
    slip_dtype dtype;
    int64_t experts, rows, columns;
    int64_t groups, blocks;    /* of an expert; of a row */
    unsigned char *data;       /* 64-byte aligned */
    float *scale_f32;          /* f8e4m3: [experts, groups, blocks, 16] */
    unsigned char *scale_e8m0; /* mxfp4: the same */
    bool shares;               /* memory is pieces, which slip_matrix_free() leaves */
} slip_matrix;

/* Bytes of codes in a block of 16 rows x 32 columns. */
static inline size_t slip_block_bytes(slip_dtype dtype)
{
    return dtype == SLIP_F32 ? 2048 : dtype == SLIP_BF16 ? 1024 : dtype == SLIP_F8E4M3 ? 512 : 256;
}

/* Columns rounded up to whole blocks: the stride of an activation row that meets such a matrix. */
static inline int64_t slip_padded(int64_t columns)
{
    return (columns + SLIP_MXFP4_BLOCK - 1) / SLIP_MXFP4_BLOCK * SLIP_MXFP4_BLOCK;
}

/* Room for a weight of this form, of its own where `pieces` is NULL; what it holds is undefined until all of its experts are packed. */
slip_status slip_matrix_make(const slip_weight *form, slip_large_pieces *pieces, slip_matrix *matrix);
void slip_matrix_free(slip_matrix *matrix);

/* Expert `from` of a weight of that form, which may have fewer experts, becomes the matrix's expert `to`; or some of its rows, from a whole
 * group on, become that expert's. */
void slip_matrix_pack(const slip_weight *weight, int64_t from, slip_matrix *matrix, int64_t to);

/* Bytes of one expert (the whole matrix when not stacked), codes and scales. */
uint64_t slip_matrix_bytes(const slip_matrix *matrix);

/* Element by element, for embeddings and vectors: row `row` of expert 0 as f32 to out [columns]. */
void slip_matrix_row(const slip_matrix *matrix, int64_t row, float *out);

#endif
