/* A weight in the CPU executor's layout: rows of 32-column blocks, the last block padded with zeros.
 *
 * One block: f32 128 bytes, bf16 64, f8e4m3 32, mxfp4 16. A byte of an mxfp4 block holds columns j (low nibble) and j + 16
 * (high nibble), not 2j and 2j + 1 as on disk, so that unpacking yields two runs of 16 consecutive columns.
 */
#ifndef SLIP_KERNELS_CPU_MATRIX_H
#define SLIP_KERNELS_CPU_MATRIX_H

#include "io/status.h"
#include "ranks/program.h"

enum { SLIP_BLOCK = 32 };

typedef struct {
    slip_dtype dtype;
    int64_t experts, rows, columns;
    int64_t blocks;            /* a row */
    size_t row_bytes;          /* of codes */
    unsigned char *data;       /* [experts, rows, blocks, block bytes], 64-byte aligned */
    float *scale_f32;          /* f8e4m3: [experts, rows, blocks] */
    unsigned char *scale_e8m0; /* mxfp4: [experts, rows, blocks] */
} slip_matrix;

/* Columns rounded up to whole blocks: the stride of an activation row that meets such a matrix. */
static inline int64_t slip_padded(int64_t columns)
{
    return (columns + SLIP_BLOCK - 1) / SLIP_BLOCK * SLIP_BLOCK;
}

slip_status slip_matrix_pack(const slip_weight *weight, slip_matrix *matrix);
void slip_matrix_free(slip_matrix *matrix);

/* Bytes of one expert (the whole matrix when not stacked), codes and scales. */
uint64_t slip_matrix_bytes(const slip_matrix *matrix);

/* Element by element, for embeddings and vectors: row `row` of expert 0 as f32 to out [columns]. */
void slip_matrix_row(const slip_matrix *matrix, int64_t row, float *out);

#endif
