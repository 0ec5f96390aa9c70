/* Sizes of attention on the GPU: its shared memory, and the scratch that the host allocates. Plain C: the host's side of
 * attend.cuh, which alone gives these numbers their meaning.
 *
 * Scratch is shared by all layers (an op is over before the next begins): take the largest over the caches. With
 * n = slip_attend_items(...) of a cache,
 *     attend_out    slip_attend_out_bytes(n, cache)     f32 [n][32 queries][v_width]
 *     attend_sum    slip_attend_sum_bytes(n)            f32 [n][32 queries][maximum, sum]
 *     attend_count  slip_attend_count_bytes(n)          zeroed once by the host, then self-wrapping
 */
#ifndef SLIP_KERNELS_CUDA_ATTEND_SIZE_H
#define SLIP_KERNELS_CUDA_ATTEND_SIZE_H

#include "kernels/cuda/device.h"

enum {
    SLIP_ATTEND_QUERIES = 32,       /* of a tile: two m16 tiles of mma; attend_tile.cuh's warps depend on it */
    SLIP_ATTEND_KEYS = 64,          /* of a sub-chunk: likewise */
    SLIP_ATTEND_V_WIDTH = 256,      /* widest v_width: 4 accumulator units a warp; k_width likewise */
    SLIP_ATTEND_HEAD = 512,         /* bytes at the start of the arena for factors and the item's job */
    SLIP_ATTEND_PAD = 8,            /* bf16 behind each row in shared memory, against bank conflicts */
    SLIP_ATTEND_SCORE_STRIDE = 72,  /* f32 of a row of scores, bf16 of a row of probabilities */
    SLIP_ATTEND_ITEMS = 4096,       /* most partial results of a step; beyond it a tile's splits are walked by one SM */
    SLIP_ATTEND_BATCH = 64,         /* splits combined at a time */
};

/* Where things lie in the arena, in bytes; all multiples of 16. */
typedef struct {
    int32_t query;  /* bf16 [32][k_width + pad] */
    int32_t key;    /* bf16 [64][k_width + pad] */
    int32_t value;  /* bf16 [64][v_width + pad] */
    int32_t score;  /* f32 [32][stride] */
    int32_t weight; /* bf16 [32][stride] */
    int32_t total;
} slip_attend_arena;

SLIP_BOTH static inline slip_attend_arena slip_attend_layout(int32_t k_width, int32_t v_width)
{
    slip_attend_arena at;
    at.query = SLIP_ATTEND_HEAD;
    at.key = at.query + SLIP_ATTEND_QUERIES * (k_width + SLIP_ATTEND_PAD) * 2;
    at.value = at.key + SLIP_ATTEND_KEYS * (k_width + SLIP_ATTEND_PAD) * 2;
    at.score = at.value + SLIP_ATTEND_KEYS * (v_width + SLIP_ATTEND_PAD) * 2;
    at.weight = at.score + SLIP_ATTEND_QUERIES * SLIP_ATTEND_SCORE_STRIDE * 4;
    at.total = at.weight + SLIP_ATTEND_QUERIES * SLIP_ATTEND_SCORE_STRIDE * 2;
    return at;
}

/* 70,144 for head dims 192 and 128. */
SLIP_BOTH static inline int32_t slip_attend_arena_bytes(int32_t k_width, int32_t v_width)
{
    return slip_attend_layout(k_width, v_width).total;
}

/* What op_attend and op_rope rely on. Checked by the host once a cache: it is not checked on the device. */
static inline bool slip_attend_fits(const slip_cuda_cache *cache)
{
    return cache->k_width % 16 == 0 && cache->v_width % 16 == 0 && cache->k_width >= 16 && cache->k_width <= 256 &&
           cache->v_width >= 16 && cache->v_width <= SLIP_ATTEND_V_WIDTH && cache->shape.head_dim <= cache->k_width &&
           cache->shape.v_head_dim <= cache->v_width && cache->split > 0 && cache->split % SLIP_ATTEND_KEYS == 0 &&
           slip_attend_arena_bytes(cache->k_width, cache->v_width) <= SLIP_CUDA_ARENA;
}

/* Query tiles of one K/V head of a run of `count` rows. A rank may hold a part of a group of query heads. */
SLIP_BOTH static inline int32_t slip_attend_tiles(const slip_cache *shape, int32_t count)
{
    int32_t heads = shape->group < shape->q_heads ? shape->group : shape->q_heads;
    return (heads * count + SLIP_ATTEND_QUERIES - 1) / SLIP_ATTEND_QUERIES;
}

/* Partial results that a step can need, at most SLIP_ATTEND_ITEMS. A sequence's rows in a step are consecutive, so they make
 * one run a row group that they touch. */
static inline int64_t slip_attend_items(const slip_limits *limits, const slip_cuda_cache *cache)
{
    const slip_cache *shape = &cache->shape;
    int64_t spans = limits->sequences < SLIP_MAX_SPANS ? limits->sequences : SLIP_MAX_SPANS;
    int64_t groups = (limits->rows + SLIP_TOKENS - 1) / SLIP_TOKENS, heads = shape->group < shape->q_heads ? shape->group : shape->q_heads;
    int64_t runs = groups + spans < limits->rows ? groups + spans : limits->rows;
    int64_t tiles = (heads * limits->rows / SLIP_ATTEND_QUERIES + runs) * shape->kv_heads; /* a run wastes less than one tile */
    int64_t seen = limits->context, splits = (limits->context + cache->split - 1) / cache->split;
    if (shape->window > 0)
        seen = (int64_t)shape->window + limits->span_rows + SLIP_TOKENS;
    if ((seen + cache->split - 2) / cache->split + 1 < splits) /* wherever it begins */
        splits = (seen + cache->split - 2) / cache->split + 1;
    return tiles * splits < SLIP_ATTEND_ITEMS ? tiles * splits : (int64_t)SLIP_ATTEND_ITEMS;
}

static inline size_t slip_attend_out_bytes(int64_t items, const slip_cuda_cache *cache)
{
    return (size_t)items * SLIP_ATTEND_QUERIES * (size_t)cache->v_width * sizeof(float);
}

static inline size_t slip_attend_sum_bytes(int64_t items)
{
    return (size_t)items * SLIP_ATTEND_QUERIES * 2 * sizeof(float);
}

static inline size_t slip_attend_count_bytes(int64_t items)
{
    return (size_t)items * sizeof(unsigned);
}

#endif
