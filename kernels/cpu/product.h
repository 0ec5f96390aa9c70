/* A matrix times tokens.
 *
 * Lanes are rows: no sum ever crosses lanes, and a row's sum runs over the columns in their order, whatever the number of tokens or
 * groups that are computed side by side to keep the pipeline busy.
 *
 *   strip   one group of rows, or several side by side: goes through its blocks of columns and decodes each once for all tokens
 *   tile    the tokens of a strip whose sums within a block registers hold
 *
 * Included by math_body.c alone, as decode.h is. SLIP_TILE: tokens of a tile.
 */
#ifndef SLIP_KERNELS_CPU_PRODUCT_H
#define SLIP_KERNELS_CPU_PRODUCT_H

#include "kernels/cpu/decode.h"

enum {
    STRIP = 4,                                                     /* groups of a strip at most */
    TOKENS = 16,                                                   /* that share a decoded block at most */
    AHEAD = 2048,                                                  /* bytes to prefetch ahead */
    LAST_TILE = SLIP_TILE + (SLIP_LANES < 16 ? SLIP_TILE / 2 : 0), /* tokens of the last tile at most */
};

/* Sums of a strip over whole blocks: f32, or f64 where they go on across ranks and experts. */
typedef union {
    vf narrow[STRIP][TOKENS][SLIP_SPLIT];
    vd wide[STRIP][TOKENS][2 * SLIP_SPLIT];
} strip_sums;

/* One block of columns of a strip. */
typedef struct {
    const unsigned char *block[STRIP]; /* staged */
    vf scale[STRIP][SLIP_SPLIT];
    int64_t column; /* the first */
} strip_block;

/* Asks for what a strip comes to AHEAD bytes behind block b of a group: the processor's own prefetcher stops at every page, and knows nothing of
 * strips. */
SLIP_INLINE void prefetch_ahead(const slip_matrix *w, int groups, int64_t group, int64_t b, size_t bytes)
{
    for (b += (int64_t)(AHEAD / bytes); b >= w->blocks; b -= w->blocks)
        group += groups;
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(w->data + (size_t)(group * w->blocks + b) * bytes + i);
}

/* A block of `groups` groups times `tokens` tokens, without scales; counts and dtype are constants where this is inlined. Loops over them are
 * left to the compilers: clang unrolls what a pragma names too late to keep `part` in registers. */
SLIP_INLINE void multiply_block(slip_dtype dtype, int groups, int tokens, const unsigned char *const *block, const float *const *x,
                                int64_t column, vf part[STRIP][LAST_TILE][SLIP_SPLIT])
{
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
#pragma GCC unroll 4
            for (int h = 0; h < SLIP_SPLIT; h++)
                part[g][t][h] = splat(0);
#pragma GCC unroll 4 / COLUMNS
    for (int c = 0; c < SLIP_MXFP4_BLOCK; c += COLUMNS)
#pragma GCC unroll 2
        for (int i = 0; i < COLUMNS; i++)
            for (int g = 0; g < groups; g++) {
                vf k[SLIP_SPLIT];
#pragma GCC unroll 4
                for (int h = 0; h < SLIP_SPLIT; h++)
                    k[h] = decode(dtype, block[g], c, i, h);
                for (int t = 0; t < tokens; t++) {
                    const vf value = splat(x[t][column + c + i]);
#pragma GCC unroll 4
                    for (int h = 0; h < SLIP_SPLIT; h++)
                        part[g][t][h] = multiply_add(k[h], value, part[g][t][h]);
                }
            }
}

/* Tokens [token, token + tokens). */
SLIP_INLINE void multiply_tile(slip_dtype dtype, bool wide, int groups, int tokens, const strip_block *s, int token, const float *const *x,
                               strip_sums *sums)
{
    vf part[STRIP][LAST_TILE][SLIP_SPLIT];
    multiply_block(dtype, groups, tokens, s->block, x + token, s->column, part);
    for (int g = 0; g < groups; g++)
#pragma GCC unroll 4
        for (int h = 0; h < SLIP_SPLIT; h++) {
            const vf scale = s->scale[g][h];
            for (int t = 0; t < tokens; t++) {
                const vf one = part[g][t][h];
                if (wide) {
                    vd *sum = &sums->wide[g][token + t][2 * h];
                    const vf scaled = has_scales(dtype) ? one * scale : one;
                    sum[0] += widen(scaled, 0);
                    sum[1] += widen(scaled, 1);
                } else {
                    vf *sum = &sums->narrow[g][token + t][h];
                    *sum = has_scales(dtype) ? multiply_add(one, scale, *sum) : one + *sum;
                }
            }
        }
}

/* Tiles of SLIP_TILE tokens, and what is left as one. A token goes through the same operations in each. */
SLIP_INLINE void multiply_tiles(slip_dtype dtype, bool wide, int groups, int tokens, const strip_block *s, const float *const *x,
                                strip_sums *sums)
{
    int t = 0;
    for (; tokens - t > LAST_TILE; t += SLIP_TILE)
        multiply_tile(dtype, wide, groups, SLIP_TILE, s, t, x, sums);
#define LAST(size) \
    case size: \
        if (size <= LAST_TILE) \
            multiply_tile(dtype, wide, groups, size, s, t, x, sums); \
        break;
    switch (tokens - t) {
        LAST(1)
        LAST(2)
        LAST(3)
        LAST(4)
        LAST(5)
        LAST(6)
        LAST(7)
        LAST(8)
    default: break;
    }
#undef LAST
}

/* Groups [group, group + groups) times at most TOKENS tokens. */
SLIP_INLINE void multiply_strip(slip_dtype dtype, bool wide, int groups, const slip_matrix *w, int64_t group, int tokens,
                                const float *const *x, strip_sums *sums)
{
    const size_t bytes = slip_block_bytes(dtype);
    unsigned char room[STRIP][STAGED_BYTES] __attribute__((aligned(64)));
    strip_block s;
    for (int g = 0; g < groups; g++)
        if (wide)
            memset(sums->wide[g], 0, (size_t)tokens * sizeof sums->wide[g][0]);
        else
            memset(sums->narrow[g], 0, (size_t)tokens * sizeof sums->narrow[g][0]);
    for (int64_t b = 0; b < w->blocks; b++) {
        s.column = b * SLIP_MXFP4_BLOCK;
        for (int g = 0; g < groups; g++) {
            const int64_t index = (group + g) * w->blocks + b;
            prefetch_ahead(w, groups, group + g, b, bytes);
            s.block[g] = staged(dtype, w->data + (size_t)index * bytes, room[g]);
            for (int h = 0; h < SLIP_SPLIT; h++)
                s.scale[g][h] = scale_of(dtype, w, index, h);
        }
        multiply_tiles(dtype, wide, groups, tokens, &s, x, sums);
    }
}

/* How many of a group's 16 rows exist. */
SLIP_INLINE size_t rows_in(const slip_matrix *w, int64_t group)
{
    int64_t left = w->rows - group * SLIP_GROUP;
    return (size_t)(left < SLIP_GROUP ? left : SLIP_GROUP);
}

/* y = sum for the rows of one group that exist. */
SLIP_INLINE void store_group(slip_dtype dtype, const slip_matrix *w, int64_t group, vf *sum, float *y)
{
    in_order_of_rows(dtype, sum);
    memcpy(y + group * SLIP_GROUP, sum, rows_in(w, group) * sizeof *y);
}

/* y += gain * sum for the rows of one group that exist. */
SLIP_INLINE void add_group(slip_dtype dtype, const slip_matrix *w, int64_t group, vd *sum, float gain, double *y)
{
    double total[SLIP_GROUP];
    const size_t rows = rows_in(w, group);
    in_order_of_rows_f64(dtype, sum);
    memcpy(total, sum, sizeof total);
    for (size_t r = 0; r < rows; r++)
        y[group * SLIP_GROUP + (int64_t)r] += (double)gain * total[r];
}

/* Groups side by side: several where few tokens would leave the pipeline idle. */
#define SIDE(tokens) (SLIP_TILE / (tokens) < STRIP ? SLIP_TILE / (tokens) : STRIP)

/* A strip of `groups` groups of an expert whose first group is `first`, times at most TOKENS tokens. */
SLIP_INLINE void strip_linear(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t first, int64_t group,
                              const float *const *x, float *const *y)
{
    strip_sums sums;
    multiply_strip(dtype, false, groups, w, first + group, tokens, x, &sums);
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
            store_group(dtype, w, group + g, sums.narrow[g][t], y[t]);
}

/* One block after the other in f32, blocks added up in f64: sums of f32 values lose nothing there that f32 would show, so the
 * total rounds to the same f32 wherever the columns are cut between ranks, if only at whole blocks. */
SLIP_INLINE void strip_partial(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t first, int64_t group,
                               const float *const *x, const float *gain, double *const *y)
{
    strip_sums sums;
    multiply_strip(dtype, true, groups, w, first + group, tokens, x, &sums);
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
            add_group(dtype, w, group + g, sums.wide[g][t], gain[t], y[t]);
}

/* All rows of an expert for few tokens, several groups side by side. */
#define ROWS_FEW(STRIP_OF, dtype, tokens, w, first, ...) \
    do { \
        int64_t group = 0; \
        for (; group + SIDE(tokens) <= (w)->groups; group += SIDE(tokens)) \
            STRIP_OF(dtype, SIDE(tokens), tokens, w, first, group, __VA_ARGS__); \
        for (; group < (w)->groups; group++) \
            STRIP_OF(dtype, 1, tokens, w, first, group, __VA_ARGS__); \
    } while (0)

/* Products of two f32 are exact in f64: the columns may be cut anywhere. */
SLIP_INLINE void tile_exact(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t group, const double *const *x,
                            vd sum[tokens][2 * SLIP_SPLIT])
{
    unsigned char room[STAGED_BYTES] __attribute__((aligned(64)));
    for (int t = 0; t < tokens; t++)
        for (int h = 0; h < 2 * SLIP_SPLIT; h++)
            sum[t][h] = (vd){0};
    for (int64_t b = 0; b < w->blocks; b++) {
        const int64_t index = group * w->blocks + b;
        const unsigned char *block = staged(dtype, w->data + (size_t)index * slip_block_bytes(dtype), room);
        for (int h = 0; h < SLIP_SPLIT; h++) {
            const vf scale = scale_of(dtype, w, index, h);
            for (int c = 0; c < SLIP_MXFP4_BLOCK; c += COLUMNS)
#pragma GCC unroll 2
                for (int i = 0; i < COLUMNS; i++) {
                    vf k = decode(dtype, block, c, i, h);
                    if (has_scales(dtype))
                        k *= scale;
                    for (int t = 0; t < tokens; t++) {
                        const vd column = x[t][b * SLIP_MXFP4_BLOCK + c + i] - (vd){0};
                        sum[t][2 * h] = multiply_add_f64(widen(k, 0), column, sum[t][2 * h]);
                        sum[t][2 * h + 1] = multiply_add_f64(widen(k, 1), column, sum[t][2 * h + 1]);
                    }
                }
        }
    }
}

/* So many tokens of a tile, as many tiles as there are; returns the token behind them. */
SLIP_INLINE int32_t rows_exact(slip_dtype dtype, int size, const slip_matrix *w, int64_t first, const double *const *x, const float *gain,
                               int32_t t, int32_t tokens, double *const *y)
{
    for (; size <= SLIP_TILE && t + size <= tokens; t += size)
        for (int64_t group = 0; group < w->groups; group++) {
            vd sum[size][2 * SLIP_SPLIT];
            tile_exact(dtype, size, w, first + group, x + t, sum);
            for (int i = 0; i < size; i++)
                add_group(dtype, w, group, sum[i], gain[t + i], y[t + i]);
        }
    return t;
}

#endif
