/* What ops read and write in device memory beside weights, as plain data for host and device code. Pointers are device addresses.
 *
 * Tokens are computed in row groups of 8: the N of wgmma m64n8. Row r of a step is token r % 8 of group r / 8. A column of a
 * product never sees the others, so a token's result does not depend on its neighbours.
 *
 * Operands of products, a row group each: 16-byte units [unit][8 tokens][16 bytes], a unit being 16 columns of e4m3 or 8 of bf16.
 *     q8 + scale   e4m3 of x / scale, scale = amax / 448 of 128 columns of one token (1 where amax is 0)
 *     hi, lo       bf16 of x and bf16 of x - hi
 * Behind a norm, what is stored is x * weight; the factor rsqrt(mean(x^2) + epsilon) is one number a token and is applied to the
 * product: `ssq` holds the sums of squares of each block of 128 columns. Columns beyond the real ones are zeros.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_BUFFER_H
#define SLIP_KERNELS_CUDA_LAYOUT_BUFFER_H

#include "io/base/both.h"
#include "ranks/model/program.h"

enum {
    SLIP_TOKENS = 8,             /* of a row group */
    SLIP_CUDA_ARENA = 72 * 1024, /* shared memory beside the ring: operands of a product, keys and values, lists */
    SLIP_LIST_MAX = SLIP_TOKENS * SLIP_MAX_TOP_K, /* experts that a row group can pick */
};

/* Partial sums: element (group, part, token, column) is data[((group * parts + part) * 8 + token) * stride + column].
 * Experts' results: (group, token, pick, part, column) is data[(((group * 8 + token) * top_k + pick) * parts + part) * stride + column].
 * Gathered from ranks: (rank, row, column) is data[(rank * slip_gathered_rows(rows of the step) + row) * stride + column]. */
typedef struct {
    float *data;
    int32_t parts;   /* of a gathered sum: ranks */
    int32_t stride;  /* columns, of a product's padded to whole tiles */
    int32_t columns; /* real ones */
} slip_cuda_partial;

/* Rows that are gathered from each rank in a step of `rows`: whole row groups, a power of two of them. The number is baked into a
 * captured graph: a few graphs serve all steps. */
SLIP_BOTH static inline int32_t slip_gathered_rows(int32_t rows)
{
    int32_t gathered = SLIP_TOKENS;
    while (gathered < rows)
        gathered *= 2;
    return gathered;
}

/* The operand of a product, in the forms that its weights want. */
typedef struct {
    unsigned char *q8;  /* [groups][padded / 16][8][16] or NULL */
    float *scale;       /* [groups][padded / 128][8] */
    uint16_t *hi, *lo;  /* [groups][padded / 8][8][8] or NULL */
    float *ssq;         /* [groups][padded / 128][8]; NULL: no factor */
    int32_t columns;    /* real ones */
    int32_t padded;     /* to whole blocks of 256 */
} slip_cuda_operand;

/* K and V of one layer, bf16: k[((slot * kv_heads + head) * k_width) + dim] with slot = sequence * slots + position % slots. */
typedef struct {
    uint16_t *k, *v;
    int32_t slots;            /* a ring where there is a window, else the whole context */
    int32_t k_width, v_width; /* head dims padded with zeros to multiples of 16 */
    int32_t split;            /* keys of one work item: an item covers absolute positions [i * split, (i + 1) * split) */
    slip_cache shape;
} slip_cuda_cache;

/* The ring of taps, f32 [sequence][slots][width]; position p lies in slot p % slots. */
typedef struct {
    float *data; /* NULL: none */
    int32_t slots, width;
} slip_cuda_taps;

/* What the router picked, per row: expert ids ascending, and their weights. */
typedef struct {
    int32_t *expert; /* [rows][top_k] */
    float *weight;   /* [rows][top_k] */
} slip_cuda_picks;

#endif
