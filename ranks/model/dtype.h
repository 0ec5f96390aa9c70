/* How the elements of a weight are stored, and the blocks in which they share scales. */
#ifndef SLIP_RANKS_MODEL_DTYPE_H
#define SLIP_RANKS_MODEL_DTYPE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SLIP_MXFP4_BLOCK = 32, /* columns that share an MXFP4 scale: no cut of experts or dense layers goes through them */
    SLIP_F8_BLOCK = 128,   /* rows and columns that share an FP8 weight's scale; columns of a token that share an FP8 activation's */
};

/* A dataset's attribute `dtype` holds the name. */
typedef enum {
    SLIP_F32,
    SLIP_BF16,
    SLIP_F8E4M3, /* one byte an element; f32 scale a block of SLIP_F8_BLOCK x SLIP_F8_BLOCK */
    SLIP_MXFP4,  /* E2M1, two an byte, low nibble = even column; one E8M0 scale byte per SLIP_MXFP4_BLOCK columns */
    SLIP_DTYPES
} slip_dtype;

/* "bf16", and back (-1 when unknown). */
const char *slip_dtype_name(slip_dtype dtype);
int slip_dtype_parse(const char *name);

/* Bytes of a stored item; an item of mxfp4 is two columns. */
static inline int64_t slip_dtype_item_bytes(slip_dtype dtype)
{
    return dtype == SLIP_F32 ? 4 : dtype == SLIP_BF16 ? 2 : 1;
}

/* Bytes of `columns` columns of a row, scales not counted. */
static inline int64_t slip_dtype_row_bytes(slip_dtype dtype, int64_t columns)
{
    return dtype == SLIP_MXFP4 ? columns / 2 : columns * slip_dtype_item_bytes(dtype);
}

/* Scales that `size` rows or columns of an FP8 weight have. */
static inline int64_t slip_f8_blocks(int64_t size)
{
    return (size + SLIP_F8_BLOCK - 1) / SLIP_F8_BLOCK;
}

#ifdef __cplusplus
}
#endif

#endif
