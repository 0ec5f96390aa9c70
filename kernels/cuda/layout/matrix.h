/* Weights on the device, as plain data for host and device code: which pieces a matrix is cut into and in which order they lie.
 *
 * A matrix [rows, columns] is cut into tiles of 64 rows, a tile along its columns into granules of 8192 bytes of codes:
 *     bf16    64 columns   [column / 8][64 rows][8]        SLIP_GRANULE_BF16  = 8192 bytes
 *     f8e4m3  128 columns  [column / 16][64 rows][16]      then 64 f32 scales, one a row: SLIP_GRANULE_F8 = 8448 bytes
 *     mxfp4   256 columns  in wgmma's register order       then 64 x 8 E8M0 scales:       SLIP_GRANULE_MXFP4 = 8704 bytes
 * bf16 and f8e4m3 granules are wgmma operands in shared memory as they are (K-major core matrices of 8 rows x 16 bytes, no
 * swizzle); mxfp4 is decoded in registers. Rows and columns that do not exist are zeros. f32 matrices are stored as bf16 in two
 * planes along the columns, w = high + low, all granules of the high plane first: 16 of 24 bits of the mantissa.
 *
 * Granules lie in the order in which they are consumed: columns are cut into chunks of `chunk` granules (the last may be
 * shorter), and memory holds [expert][chunk][tile][granule of the chunk]. Each chunk's product is a partial sum of its own;
 * whoever reads the result adds the chunks up in their order, which depends on the matrix alone.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_MATRIX_H
#define SLIP_KERNELS_CUDA_LAYOUT_MATRIX_H

#include <stdint.h>

#include "io/base/both.h"

enum {
    SLIP_TILE = 64,              /* rows of a weight tile: the M of wgmma */
    SLIP_CODE_BYTES = 8192,      /* codes of a granule */
    SLIP_GRANULE_BF16 = 8192,
    SLIP_GRANULE_F8 = 8192 + 64 * 4,
    SLIP_GRANULE_MXFP4 = 8192 + 64 * 8,
    SLIP_STAGE_GRANULES = 2,     /* a stage of the ring: one bulk copy of 16 to 17 KiB */
    SLIP_STAGE_BYTES = SLIP_STAGE_GRANULES * SLIP_GRANULE_MXFP4,
};

/* How a matrix lies on the device. */
typedef enum { SLIP_STORE_BF16, SLIP_STORE_F8, SLIP_STORE_MXFP4 } slip_store;

SLIP_BOTH static inline int32_t slip_store_bytes(int32_t store) /* of a granule */
{
    return store == SLIP_STORE_BF16 ? SLIP_GRANULE_BF16 : store == SLIP_STORE_F8 ? SLIP_GRANULE_F8 : SLIP_GRANULE_MXFP4;
}

SLIP_BOTH static inline int32_t slip_store_columns(int32_t store) /* of a granule */
{
    return store == SLIP_STORE_BF16 ? 64 : store == SLIP_STORE_F8 ? 128 : 256;
}

typedef struct {
    unsigned char *data;
    int32_t store;           /* slip_store */
    int32_t rows, columns;   /* real ones, of one expert */
    int32_t tiles;           /* ceil(rows / 64) */
    int32_t plane;           /* granules of one plane along the columns */
    int32_t granules;        /* plane * planes: along the columns */
    int32_t chunk, chunks;   /* granules of a chunk; how many chunks */
    int32_t units;           /* of one expert: chunks * tiles; a unit is a chunk of one tile */
    int64_t expert_bytes;
} slip_cuda_matrix;

#endif
