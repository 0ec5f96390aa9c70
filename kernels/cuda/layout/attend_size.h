/* Sizes of attention on the GPU, for the host and ops/attend*.cuh: its shared memory, the splits of the keys, and its scratch.
 *
 * Scratch is shared by all layers (an op is over before the next begins): take the largest over the caches. With
 * n = slip_attend_items(...) of a cache,
 *     attend_out    slip_attend_out_bytes(n, cache)     f32 [n][16 queries][v_width]
 *     attend_sum    slip_attend_sum_bytes(n)            f32 [n][16 queries][maximum, sum]
 *     attend_count  slip_attend_count_bytes(n)          zeroed once by the host, then self-wrapping
 *
 * Every split of a tile leaves a partial result, but in wide steps of many rows, where a CTA merges them by itself (slip_attend_merges()). Bounded
 * by the growth of the splits (slip_attend_split_of), not by a cap: 16 q heads, 1 K/V head of 128 dimensions and 1,024 rows and more want 250 MB of
 * attend_out for 8,192 tokens of context and 600 MB for a million, where splits begin at 64 keys; 8 rows want 5 and 13 MB.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_ATTEND_SIZE_H
#define SLIP_KERNELS_CUDA_LAYOUT_ATTEND_SIZE_H

#include "kernels/cuda/layout/buffer.h"

enum {
    SLIP_ATTEND_QUERIES = 16,      /* of a tile: one m16 tile of mma, a warp each in the softmax and behind it */
    SLIP_ATTEND_KEYS = 64,         /* of a sub-chunk: two keys a lane, eight n8 tiles; attend_tile.cuh depends on it */
    SLIP_ATTEND_K_WIDTH = 256,     /* widest k_width: a lane loads 16 bytes of a query */
    SLIP_ATTEND_V_WIDTH = 256,     /* widest v_width: a warp accumulates two n8 tiles */
    SLIP_ATTEND_K_STEP = 32,       /* rows of queries and keys are padded to it with zeros in shared memory */
    SLIP_ATTEND_FACTORS = 128,     /* bytes at the start of the arena for factors */
    SLIP_ATTEND_PAD = 8,           /* bf16 behind each row in shared memory, against bank conflicts */
    SLIP_ATTEND_SCORE_STRIDE = 72, /* f32 of a row of scores, bf16 of a row of probabilities */
    SLIP_ATTEND_OCTAVE = 8,        /* splits of keys [n, 2n); a power of two */
};

/* Limits of attention in wide steps (wide/attention/attend.cuh). */
enum {
    SLIP_WIDE_ATTEND_K = 192, /* widest heads */
    SLIP_WIDE_ATTEND_V = 128,
    SLIP_WIDE_ATTEND_TILES = 8,  /* of a CTA */
    SLIP_WIDE_ATTEND_ALONE = 96, /* CTAs' shares of a step from which on a CTA has all keys of its tiles: three quarters of an H100's SMs */
};

/* Limits of a narrow window's attention in one phase (attend_window.cuh). */
enum {
    SLIP_WINDOW_MOST = 128,  /* widest window */
    SLIP_WINDOW_K = 192,     /* widest head */
    SLIP_WINDOW_TURNED = 64, /* most of its dimensions that are rotated */
    SLIP_WINDOW_V = 64,      /* dimensions of V that a unit of work computes */
};

/* Where things lie in the arena, in bytes; all multiples of 16. */
enum {
    SLIP_ATTEND_SCORE = SLIP_ATTEND_FACTORS, /* f32 [2 halves of the head's dimensions][16][stride] */
    SLIP_ATTEND_WEIGHT = SLIP_ATTEND_SCORE + 2 * SLIP_ATTEND_QUERIES * SLIP_ATTEND_SCORE_STRIDE * 4,         /* bf16 [16][stride] */
    SLIP_ATTEND_QUERY = SLIP_ATTEND_WEIGHT + SLIP_ATTEND_QUERIES * SLIP_ATTEND_SCORE_STRIDE * 2,             /* bf16 [16][k pitch] */
    SLIP_ATTEND_KEY = SLIP_ATTEND_QUERY + SLIP_ATTEND_QUERIES * (SLIP_ATTEND_K_WIDTH + SLIP_ATTEND_PAD) * 2, /* bf16 [64][k pitch] */
}; /* then values: bf16 [64][v pitch] */

/* Bytes of a row of queries and keys, and of values. */
SLIP_BOTH static inline int32_t slip_attend_k_pitch(int32_t k_width)
{
    return (((k_width + SLIP_ATTEND_K_STEP - 1) & -SLIP_ATTEND_K_STEP) + SLIP_ATTEND_PAD) * 2;
}

SLIP_BOTH static inline int32_t slip_attend_v_pitch(int32_t v_width)
{
    return (v_width + SLIP_ATTEND_PAD) * 2;
}

/* 63,104 for head dims 192 and 128. */
SLIP_BOTH static inline int32_t slip_attend_arena_bytes(int32_t k_width, int32_t v_width)
{
    return SLIP_ATTEND_KEY + SLIP_ATTEND_KEYS * (slip_attend_k_pitch(k_width) + slip_attend_v_pitch(v_width));
}

/* What op_attend and op_rope rely on. The host checks it for each cache; the device does not. */
static inline bool slip_attend_fits(const slip_cuda_cache *cache)
{
    return cache->k_width % 16 == 0 && cache->v_width % 16 == 0 && cache->k_width >= 16 && cache->k_width <= SLIP_ATTEND_K_WIDTH &&
           cache->v_width >= 16 && cache->v_width <= SLIP_ATTEND_V_WIDTH && cache->shape.head_dim <= cache->k_width &&
           cache->shape.v_head_dim <= cache->v_width && cache->split >= SLIP_ATTEND_KEYS && (cache->split & (cache->split - 1)) == 0 &&
           slip_attend_arena_bytes(cache->k_width, cache->v_width) <= SLIP_CUDA_ARENA;
}

/* A layer that op_attend_window takes: what it loads are whole quads of columns. `norms`: heads are normalised. */
static inline bool slip_attend_window_fits(const slip_cuda_cache *cache, int32_t rotary_dim, bool norms)
{
    const slip_cache *shape = &cache->shape;
    return shape->window > 0 && shape->window <= SLIP_WINDOW_MOST && !shape->whole_block && !norms && shape->head_dim <= SLIP_WINDOW_K &&
           shape->head_dim % 4 == 0 && shape->v_head_dim % 4 == 0 && rotary_dim % 8 == 0 && rotary_dim <= SLIP_WINDOW_TURNED;
}

/* ---- splits ---- */

SLIP_BOTH static inline int32_t slip_attend_log2(int32_t x) /* of x > 0, rounded down */
{
#ifdef __CUDA_ARCH__
    return 31 - __clz(x);
#else
    return 31 - __builtin_clz((unsigned)x);
#endif
}

/* The split in which an absolute key lies. With a window all are of cache->split keys. Without, the first 16 are, and each eight
 * that follow are twice as long as those before: 2^n times cache->split keys make 8 (n - 2) pieces of at most a sixteenth, which
 * keeps the merge short and is still enough for all SMs. A key's split depends on the key alone, which keeps results the same in all
 * steps. */
SLIP_BOTH static inline int32_t slip_attend_split_of(const slip_cuda_cache *cache, int32_t key)
{
    int32_t unit = key >> slip_attend_log2(cache->split);
    int32_t shift = cache->shape.window > 0 ? 0 : slip_attend_log2(unit | SLIP_ATTEND_OCTAVE) - slip_attend_log2(SLIP_ATTEND_OCTAVE);
    return SLIP_ATTEND_OCTAVE * shift + (unit >> shift);
}

/* The first key of a split: the reverse. */
SLIP_BOTH static inline int32_t slip_attend_split_first(const slip_cuda_cache *cache, int32_t split)
{
    int32_t shift = cache->shape.window == 0 && split >= 2 * SLIP_ATTEND_OCTAVE ? (int32_t)((uint32_t)split / SLIP_ATTEND_OCTAVE) - 1 : 0;
    return (split - SLIP_ATTEND_OCTAVE * shift) << (shift + slip_attend_log2(cache->split));
}

/* ---- scratch ---- */

/* Query tiles of one K/V head of a run of `count` rows. A rank may hold a part of a group of query heads. */
SLIP_BOTH static inline int32_t slip_attend_tiles(const slip_cache *shape, int32_t count)
{
    int32_t heads = shape->group < shape->q_heads ? shape->group : shape->q_heads;
    return (int32_t)((uint32_t)(heads * count + SLIP_ATTEND_QUERIES - 1) / SLIP_ATTEND_QUERIES);
}

/* Have wide steps a kernel for such heads? */
SLIP_BOTH static inline bool slip_attend_is_wide(const slip_cuda_cache *cache)
{
    return cache->k_width <= SLIP_WIDE_ATTEND_K && cache->v_width <= SLIP_WIDE_ATTEND_V;
}

/* What CTAs share in a wide step of so many runs, but for the keys. */
SLIP_BOTH static inline int32_t slip_attend_shares(const slip_cache *shape, int32_t runs)
{
    return runs * shape->kv_heads * ((slip_attend_tiles(shape, SLIP_TOKENS) + SLIP_WIDE_ATTEND_TILES - 1) / SLIP_WIDE_ATTEND_TILES);
}

/* Does a CTA of such a step merge the splits of its tiles by itself? Then there are no partial results. */
SLIP_BOTH static inline bool slip_attend_merges(const slip_cache *shape, int32_t runs)
{
    return slip_attend_shares(shape, runs) >= SLIP_WIDE_ATTEND_ALONE;
}

/* Tiles of a step of so many rows, at most. A sequence's rows in a step are consecutive, so they make one run a row group that they
 * touch. */
static inline int64_t slip_attend_most_tiles(const slip_limits *limits, const slip_cache *shape, int64_t rows)
{
    int64_t spans = limits->sequences < SLIP_MAX_SPANS ? limits->sequences : SLIP_MAX_SPANS;
    int64_t groups = slip_groups_of((int32_t)rows), heads = shape->group < shape->q_heads ? shape->group : shape->q_heads;
    int64_t runs = groups + spans < rows ? groups + spans : rows;
    return (heads * rows / SLIP_ATTEND_QUERIES + runs) * shape->kv_heads; /* a run wastes less than one tile */
}

/* Partial results that a step can need. */
static inline int64_t slip_attend_items(const slip_limits *limits, const slip_cuda_cache *cache)
{
    const slip_cache *shape = &cache->shape;
    int64_t tiles = slip_attend_most_tiles(limits, shape, limits->rows);
    int64_t narrow = slip_attend_most_tiles(limits, shape, limits->rows < SLIP_TOKENS ? limits->rows : SLIP_TOKENS);
    int64_t apart = (int64_t)(SLIP_WIDE_ATTEND_ALONE - 1) * SLIP_WIDE_ATTEND_TILES; /* of wide steps that leave partial results */
    if (slip_attend_is_wide(cache) && tiles > apart)
        tiles = narrow > apart ? narrow : apart;
    int64_t splits = slip_attend_split_of(cache, (int32_t)(limits->context - 1)) + 1;
    int64_t seen = (int64_t)shape->window + SLIP_TOKENS + (shape->whole_block ? limits->span_rows : 0);
    int64_t most = (seen + cache->split - 2) / cache->split + 1;
    if (shape->window > 0 && most < splits) /* wherever it begins */
        splits = most;
    return tiles * splits;
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
