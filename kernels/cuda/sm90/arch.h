/* Hopper (sm_90a), and what another architecture must supply: a folder like this one with
 *     arch.h      (plain C) the sizes of weight tiles and the order of what is in them, which packing and random weights follow; the size
 *                 and number of a ring's stages; the number of SMs that matrices are cut for; its compute capability
 *     tile.cuh    tile_*() and stage_*(): weight tiles in shared memory times a block of N token columns, sums in registers
 *     copy.cuh    copies to shared memory: by threads, and in bulk, completing on a barrier; that barrier; the fence between ordinary stores
 *                 to shared memory and what reads them asynchronously
 *     mma.cuh     ldmatrix and mma.sync for attention
 *     launch.cuh  launches that begin while the one before ends; registers that warpgroups give and get
 *     stream.cu   the rate at which weights stream through bulk copies
 * Nothing outside of this folder knows wgmma, bulk copies or the order inside of a tile. kernels/cuda/arch.h and arch.cuh name the folder,
 * kernels/CMakeLists.txt its stream.cu; CMakeLists.txt names the architecture for nvcc.
 */
#ifndef SLIP_KERNELS_CUDA_SM90_ARCH_H
#define SLIP_KERNELS_CUDA_SM90_ARCH_H

#include <stdint.h>

#include "io/base/both.h"

#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#error "the engine's device code is for sm_90a: see the head of kernels/cuda/sm90/arch.h"
#endif

/* The SMs that matrices are cut for are not those of the GPU at hand: the cut decides a result's last bits, which all ranks of a job and
 * all GPUs of this architecture share. With another number of SMs only the balance is worse. */
enum {
    SLIP_ARCH_MAJOR = 9,
    SLIP_ARCH_MINOR = 0,
    SLIP_ARCH_SMS = 132,      /* H100 SXM, H200 */
    SLIP_ARCH_WARPGROUPS = 4, /* of an SM: units are dealt out to them */
};
#define SLIP_ARCH_GPUS "H100, H200"

/* ---- weight tiles: 64 rows and 8192 bytes of codes ----
 *     bf16    64 columns   [column / 8][64 rows][8]
 *     f8e4m3  128 columns  [column / 16][64 rows][16], then 64 f32 scales, one a row
 *     mxfp4   256 columns  in wgmma's register order, then 64 x 8 E8M0 scales
 * bf16 and f8e4m3 tiles are wgmma operands in shared memory as they are (K-major core matrices of 8 rows x 16 bytes, no swizzle); mxfp4
 * is decoded in registers. Rows and columns that do not exist are zeros. */

/* How a matrix lies on the device. */
typedef enum { SLIP_WEIGHT_BF16, SLIP_WEIGHT_F8, SLIP_WEIGHT_MXFP4 } slip_weight_format;

enum {
    SLIP_TILE_ROWS = 64,              /* the M of wgmma */
    SLIP_TILE_CODES = 8192,           /* bytes of codes */
    SLIP_TILE_BF16 = SLIP_TILE_CODES, /* bytes */
    SLIP_TILE_F8 = SLIP_TILE_CODES + SLIP_TILE_ROWS * 4,
    SLIP_TILE_MXFP4 = SLIP_TILE_CODES + SLIP_TILE_ROWS * 8,
    SLIP_STAGE_TILES = 2, /* a stage of the ring: one bulk copy of 16 to 17 KiB */
    SLIP_STAGE_BYTES = SLIP_STAGE_TILES * SLIP_TILE_MXFP4,
    SLIP_RING_DEPTH = 2, /* stages of a warpgroup's ring */
};

SLIP_BOTH static inline int32_t slip_tile_bytes(int32_t format)
{
    return format == SLIP_WEIGHT_BF16 ? SLIP_TILE_BF16 : format == SLIP_WEIGHT_F8 ? SLIP_TILE_F8 : SLIP_TILE_MXFP4;
}

SLIP_BOTH static inline int32_t slip_tile_columns(int32_t format)
{
    return format == SLIP_WEIGHT_BF16 ? 64 : format == SLIP_WEIGHT_F8 ? 128 : 256;
}

/* bf16, f8e4m3: where 16 bytes of a row begin, slice `slice` along the columns. */
SLIP_BOTH static inline int32_t slip_tile_slice_at(int32_t slice, int32_t row)
{
    return (slice * SLIP_TILE_ROWS + row) * 16;
}

/* f8e4m3: a row's scale. */
SLIP_BOTH static inline int32_t slip_tile_f8_scale_at(int32_t row)
{
    return SLIP_TILE_CODES + row * 4;
}

/* mxfp4. A warp has 16 rows, of which a lane (g = lane / 4, t = lane % 4) has rows g and g + 8; it loads 16 bytes four times. Load j has
 * the 4 columns at 4 t of each half of blocks 2 j and 2 j + 1, a word a half: both rows' codes, merged. */
enum { SLIP_TILE_MXFP4_LOAD = 32 * 16, SLIP_TILE_MXFP4_WARP = 4 * SLIP_TILE_MXFP4_LOAD };

/* The word of rows `row` and `row` + 8, row % 16 < 8, with columns [16 half + 4 t, + 4). */
SLIP_BOTH static inline int32_t slip_tile_mxfp4_word_at(int32_t row, int32_t half, int32_t t)
{
    return row / 16 * SLIP_TILE_MXFP4_WARP + half / 4 * SLIP_TILE_MXFP4_LOAD + (row % 8 * 4 + t) * 16 + half % 4 * 4;
}

/* The 16 words of those rows with columns [64 quarter, + 64) follow one another, [t][half % 4]. */
SLIP_BOTH static inline int32_t slip_tile_mxfp4_line_at(int32_t row, int32_t quarter)
{
    return slip_tile_mxfp4_word_at(row, 4 * quarter, 0);
}

/* Eight scales, a block of 32 columns each; those of rows `row` and `row` + 8 are neighbours. */
SLIP_BOTH static inline int32_t slip_tile_mxfp4_scales_at(int32_t row)
{
    return SLIP_TILE_CODES + (row / 16 * 8 + row % 8) * 16 + row % 16 / 8 * 8;
}

/* A word from four codes of each row, one in each byte. Bits of a code are sign | eem: those of the upper row lie where e4m3 has them,
 * those of the lower row in what is left. */
SLIP_BOTH static inline uint32_t slip_tile_mxfp4_merge(uint32_t upper, uint32_t lower)
{
    return (upper & 0x08080808) << 4 | (upper & 0x07070707) << 2 | (lower & 0x08080808) << 2 | (lower & 0x04040404) << 4 |
           (lower & 0x03030303);
}

#endif
