/* What ops read and write in device memory beside weights, as plain data for host and device code, and where each element lies: the only
 * place that says so. Pointers are device addresses; slip_*_at() are counted in elements from them.
 *
 * Tokens are computed in row groups of 8: row r of a step is token r % 8 of group r / 8. A column of a product never sees the others, so a
 * token's result does not depend on its neighbours.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_BUFFER_H
#define SLIP_KERNELS_CUDA_LAYOUT_BUFFER_H

#include "io/base/both.h"
#include "ranks/model/program.h"

enum {
    SLIP_TOKENS = 8,                              /* of a row group */
    SLIP_OPERAND_PADDED_TO = 256,                 /* columns: those of the widest weight tile */
    SLIP_CUDA_ARENA = 76 * 1024,                  /* shared memory beside the ring: operands of a product, keys and values, lists */
    SLIP_LIST_MAX = SLIP_TOKENS * SLIP_MAX_TOP_K, /* experts that a row group can pick */
};

/* ---- rows ---- */

SLIP_BOTH static inline int32_t slip_groups_of(int32_t rows)
{
    return (rows + SLIP_TOKENS - 1) / SLIP_TOKENS;
}

SLIP_BOTH static inline int32_t slip_group_of(int32_t row)
{
    return (int32_t)((uint32_t)row / SLIP_TOKENS);
}

SLIP_BOTH static inline int32_t slip_token_of(int32_t row)
{
    return (int32_t)((uint32_t)row % SLIP_TOKENS);
}

/* ---- partial sums of products: [group][part][token][stride]; of MOE_GATE_UP: [row][pick][part][stride] ---- */

typedef struct {
    float *data;
    int32_t parts;   /* of a gathered sum: ranks */
    int32_t stride;  /* columns, of a product's padded to whole tiles */
    int32_t columns; /* real ones */
} slip_cuda_partial;

/* Column 0. */
SLIP_BOTH static inline int64_t slip_partial_at(const slip_cuda_partial *partial, int32_t row, int32_t part)
{
    return (int64_t)((slip_group_of(row) * partial->parts + part) * SLIP_TOKENS + slip_token_of(row)) * partial->stride;
}

/* From one part to the next. */
SLIP_BOTH static inline int32_t slip_partial_step(const slip_cuda_partial *partial)
{
    return SLIP_TOKENS * partial->stride;
}

static inline size_t slip_partial_floats(const slip_cuda_partial *partial, int32_t groups)
{
    return (size_t)groups * (size_t)partial->parts * SLIP_TOKENS * (size_t)partial->stride;
}

/* Column 0 of pick number slip_pick_of(). */
SLIP_BOTH static inline int64_t slip_pick_at(const slip_cuda_partial *partial, int32_t pick, int32_t part)
{
    return (int64_t)(pick * partial->parts + part) * partial->stride;
}

/* MOE_DOWN's results are bf16, as experts' outputs are in the models' own code: [row][pick][stride], and pack.c sees to it that a pick has one part.
 * Column 0 of a pick. */
SLIP_BOTH static inline uint16_t *slip_result_of(const slip_cuda_partial *partial, int32_t pick)
{
    return (uint16_t *)partial->data + (int64_t)pick * partial->stride;
}

/* ---- sums gathered from ranks: [rank][slip_gathered_rows(rows of the step)][stride] ---- */

/* Rows that are gathered from each rank in a step of `rows`: whole row groups, a power of two of them. The number is baked into a
 * captured graph: a few graphs serve all steps. */
SLIP_BOTH static inline int32_t slip_gathered_rows(int32_t rows)
{
    int32_t gathered = SLIP_TOKENS;
    while (gathered < rows)
        gathered *= 2;
    return gathered;
}

/* ---- operands of products: [group][slice][token][16 bytes], a slice being 16 columns of e4m3 or 8 of bf16 ----
 *     q8 + scale   e4m3 of x / scale, scale = amax / 448 of 128 columns of one token (1 where amax is 0)
 *     hi, lo       bf16 of x and bf16 of x - hi; where one bf16 is enough, lo is zeros that nobody writes
 * Behind a norm, what is stored is x * weight; the factor rsqrt(mean(x^2) + epsilon) is one number a token and is applied to the
 * product: `ssq` holds the sums of squares of each block of 128 columns. Columns beyond the real ones are zeros. */

typedef struct {
    unsigned char *q8; /* or NULL */
    float *scale;      /* [group][block of 128 columns][token] */
    uint16_t *hi, *lo; /* or NULL */
    float *ssq;        /* [group][block of 128 columns][token]; NULL: no factor */
    int32_t columns;   /* real ones */
    int32_t padded;    /* to whole blocks of SLIP_OPERAND_PADDED_TO */
    int32_t single;    /* hi alone is the operand */
} slip_cuda_operand;

SLIP_BOTH static inline int32_t slip_operand_q8_at(int32_t padded, int32_t group, int32_t token, int32_t column)
{
    return (int32_t)((uint32_t)(group * padded) * SLIP_TOKENS + ((uint32_t)column / 16 * SLIP_TOKENS + (uint32_t)token) * 16 +
                     (uint32_t)column % 16);
}

/* The same in steps whose sums are whole, of codes that experts alone read: they are gathered, and a row's lie together. */
SLIP_BOTH static inline int32_t slip_operand_row_at(int32_t padded, int32_t row, int32_t column)
{
    return row * padded + column;
}

/* In hi and lo. */
SLIP_BOTH static inline int32_t slip_operand_bf16_at(int32_t padded, int32_t group, int32_t token, int32_t column)
{
    return (int32_t)((uint32_t)(group * padded) * SLIP_TOKENS + ((uint32_t)column / 8 * SLIP_TOKENS + (uint32_t)token) * 8 +
                     (uint32_t)column % 8);
}

/* In scale and ssq. */
SLIP_BOTH static inline int32_t slip_operand_block_at(int32_t padded, int32_t group, int32_t token, int32_t block)
{
    return (int32_t)(((uint32_t)group * ((uint32_t)padded / SLIP_F8_BLOCK) + (uint32_t)block) * SLIP_TOKENS + (uint32_t)token);
}

/* Elements of q8, hi or lo; of scale and ssq a 128th. */
static inline size_t slip_operand_cells(int32_t padded, int32_t groups)
{
    return (size_t)groups * SLIP_TOKENS * (size_t)padded;
}

/* ---- K and V of one layer, bf16: [slot][kv head][width], position p of a sequence in slot p % slots behind its first ---- */

typedef struct {
    uint16_t *k, *v;
    int32_t slots;            /* of a sequence at most: slip_ring_slots() */
    int32_t k_width, v_width; /* head dims padded with zeros to multiples of 16 */
    int32_t split;            /* keys of one work item: an item covers absolute positions [i * split, (i + 1) * split) */
    slip_cache shape;
} slip_cuda_cache;

/* A sequence's first slot; `base`: that of a span. */
SLIP_BOTH static inline int32_t slip_cache_start(const slip_cuda_cache *cache, int32_t sequence, int32_t base)
{
    return (int32_t)slip_cache_first(cache->shape.window, cache->slots, sequence, base);
}

/* A head of slot `slot` behind the sequence's first. Times k_width or v_width: dimension 0. */
SLIP_BOTH static inline int32_t slip_cache_at(const slip_cuda_cache *cache, int32_t start, int32_t slot, int32_t head)
{
    return (start + slot) * cache->shape.kv_heads + head;
}

/* Rotated queries, bf16 [row][q head][k_width]. Times k_width: dimension 0. */
SLIP_BOTH static inline int32_t slip_query_head(const slip_cuda_cache *cache, int32_t row, int32_t head)
{
    return row * cache->shape.q_heads + head;
}

/* ---- taps, f32 [slot][width], in slots as K and V are ---- */

typedef struct {
    float *data; /* NULL: none */
    int32_t window, slots, width;
} slip_cuda_taps;

SLIP_BOTH static inline int64_t slip_taps_at(const slip_cuda_taps *taps, int32_t sequence, int32_t base, int64_t position)
{
    return (slip_cache_first(taps->window, taps->slots, sequence, base) + (int32_t)position % taps->slots) * taps->width;
}

/* Sums that count their terms: 64-bit integers, fixed point in units of 2^-SLIP_COUNTED_BITS, times 256, plus the number of terms in it. The
 * order in which terms come changes nothing, and a reader sees by itself that a sum is complete. Its only reader clears it. */
enum {
    SLIP_COUNTED_BITS = 32,
    SLIP_COUNTED_TERMS = 255,    /* at most */
    SLIP_COUNTED_LARGEST = 16384 /* magnitude of a term: larger ones count as this */
};

/* ---- what the router picked, [row][top_k]: expert ids ascending, and their weights ---- */

typedef struct {
    int32_t *expert;
    float *weight;
    uint64_t *word; /* [rows][top_k], for the products: an expert, above it the turn that it is of (slip_cuda_turn) */
} slip_cuda_picks;

/* What tells the picks of ROUTE number `route` of a step from all earlier ones in their place. `step`: its number on this device. */
SLIP_BOTH static inline uint32_t slip_cuda_turn(uint32_t step, int32_t route)
{
    return step * (2 * SLIP_MAX_LAYERS) + (uint32_t)route;
}

SLIP_BOTH static inline int32_t slip_pick_of(int32_t row, int32_t top_k, int32_t index)
{
    return row * top_k + index;
}

#endif
