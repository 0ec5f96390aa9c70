/* A weight matrix on the device: which weight tiles it is cut into and in which order they lie. What is in a tile is the architecture's
 * affair (kernels/cuda/arch.h).
 *
 * A matrix [rows, columns] is cut into weight tiles, row tiles down the rows and column tiles along the columns. f32 matrices are stored
 * as bf16 in two planes along the columns, w = high + low, all column tiles of the high plane first: 16 of 24 bits of the mantissa.
 *
 * Tiles lie in the order in which they are consumed: columns are cut into chunks of `chunk` tiles (the last may be shorter), and memory
 * holds [expert][chunk][row tile][tile of the chunk]. Each chunk's product is a partial sum of its own; whoever reads the result adds the
 * chunks up in their order, which depends on the matrix alone.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_MATRIX_H
#define SLIP_KERNELS_CUDA_LAYOUT_MATRIX_H

#include "kernels/cuda/arch.h"

typedef struct {
    unsigned char *data;
    int32_t format;        /* slip_weight_format */
    int32_t rows, columns; /* real ones, of one expert */
    int32_t row_tiles;     /* down the rows */
    int32_t plane_tiles;   /* along the columns, of one plane */
    int32_t column_tiles;  /* of all planes */
    int32_t chunk, chunks; /* tiles of a chunk; how many chunks */
    int32_t units;         /* of one expert: chunks * row_tiles; a unit of work is a chunk of one row tile */
    int64_t expert_bytes;
} slip_cuda_matrix;

/* Tiles of a chunk: the last may be shorter. */
SLIP_BOTH static inline int32_t slip_chunk_length(const slip_cuda_matrix *matrix, int32_t chunk)
{
    int32_t left = matrix->column_tiles - chunk * matrix->chunk;
    return left < matrix->chunk ? left : matrix->chunk;
}

/* Tiles of an expert that lie before unit (chunk, row_tile). */
SLIP_BOTH static inline int32_t slip_tiles_before(const slip_cuda_matrix *matrix, int32_t chunk, int32_t row_tile)
{
    return chunk * matrix->chunk * matrix->row_tiles + row_tile * slip_chunk_length(matrix, chunk);
}

/* The column tile of tile number `tile` of an expert's memory. */
SLIP_BOTH static inline int32_t slip_column_tile(const slip_cuda_matrix *matrix, int32_t tile)
{
    int32_t chunk = tile / (matrix->chunk * matrix->row_tiles), rest = tile - chunk * matrix->chunk * matrix->row_tiles;
    return chunk * matrix->chunk + rest % slip_chunk_length(matrix, chunk);
}

/* How much of a product's units a warpgroup is dealt, in relation to others (ops/product.cuh). */
enum {
    SLIP_SHARE = 16,
    SLIP_LATE_SHARE = 10, /* one whose SM begins later, as measured: docs/speed-cuda.md */
};

#endif
