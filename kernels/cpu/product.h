/* A matrix times tokens.
 *
 * Lanes are rows: no sum ever crosses lanes, and a row's sum runs over the columns in their order, whatever the number of tokens or
 * groups that are computed side by side to keep the pipeline busy.
 *
 * Included by math_body.c alone, as decode.h is. SLIP_TILE: how many tokens share a decoded column at most.
 */
#ifndef SLIP_KERNELS_CPU_PRODUCT_H
#define SLIP_KERNELS_CPU_PRODUCT_H

#include "kernels/cpu/decode.h"

enum { SLIP_SIDE_MOST = 4 }; /* groups side by side */

/* The processor's own prefetcher stops at every page; weights go on. Asks for what lies `ahead` bytes beyond a block. */
SLIP_INLINE void prefetch_block(const unsigned char *block, size_t bytes, size_t ahead)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(block + ahead + i);
}

/* The scales of a block's rows from `lane` on; ones where the type has none. */
SLIP_INLINE vf scale_of(slip_dtype dtype, const slip_matrix *w, int64_t block, int lane)
{
    return has_scales(dtype) ? block_scale(dtype, w, block, lane) : splat(1);
}

/* Block b of `groups` groups from `group` on times `tokens` tokens, without scales; counts and dtype are constants where this is inlined. */
SLIP_INLINE void multiply_block(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t group, int64_t b,
                                const float *const *x, vf part[groups][tokens][SLIP_SPLIT])
{
    const size_t bytes = slip_block_bytes(dtype);
    for (int g = 0; g < groups; g++) {
        prefetch_block(w->data + (size_t)((group + g) * w->blocks + b) * bytes, bytes, 2048);
        for (int t = 0; t < tokens; t++)
            for (int h = 0; h < SLIP_SPLIT; h++)
                part[g][t][h] = splat(0);
    }
    for (int c = 0; c < SLIP_MXFP4_BLOCK; c += COLUMNS) {
        decoding d[SLIP_SIDE_MOST];
        for (int g = 0; g < groups; g++)
            d[g] = begin_columns(dtype, w->data + (size_t)((group + g) * w->blocks + b) * bytes, c);
#pragma GCC unroll 4
        for (int i = 0; i < COLUMNS; i++)
            for (int g = 0; g < groups; g++) {
                vf k[SLIP_SPLIT];
#pragma GCC unroll 4
                for (int h = 0; h < SLIP_SPLIT; h++)
                    k[h] = decode(dtype, &d[g], i, h * SLIP_LANES);
                for (int t = 0; t < tokens; t++) {
                    vf column = splat(x[t][b * SLIP_MXFP4_BLOCK + c + i]);
#pragma GCC unroll 4
                    for (int h = 0; h < SLIP_SPLIT; h++)
                        part[g][t][h] = multiply_add(k[h], column, part[g][t][h]);
                }
            }
    }
}

/* f32 throughout. */
SLIP_INLINE void tile_linear(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t group, const float *const *x,
                             vf sum[groups][tokens][SLIP_SPLIT])
{
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
            for (int h = 0; h < SLIP_SPLIT; h++)
                sum[g][t][h] = splat(0);
    for (int64_t b = 0; b < w->blocks; b++) {
        vf part[groups][tokens][SLIP_SPLIT];
        multiply_block(dtype, groups, tokens, w, group, b, x, part);
        for (int g = 0; g < groups; g++)
            for (int h = 0; h < SLIP_SPLIT; h++) {
                vf scale = scale_of(dtype, w, (group + g) * w->blocks + b, h * SLIP_LANES);
                for (int t = 0; t < tokens; t++)
                    sum[g][t][h] = has_scales(dtype) ? multiply_add(part[g][t][h], scale, sum[g][t][h]) : part[g][t][h] + sum[g][t][h];
            }
    }
}

/* One block after the other in f32, blocks added up in f64: sums of f32 values lose nothing there that f32 would show, so the
 * total rounds to the same f32 wherever the columns are cut between ranks, if only at whole blocks. */
SLIP_INLINE void tile_partial(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t group, const float *const *x,
                              vd sum[groups][tokens][2 * SLIP_SPLIT])
{
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
            for (int h = 0; h < 2 * SLIP_SPLIT; h++)
                sum[g][t][h] = (vd){0};
    for (int64_t b = 0; b < w->blocks; b++) {
        vf part[groups][tokens][SLIP_SPLIT];
        multiply_block(dtype, groups, tokens, w, group, b, x, part);
        for (int g = 0; g < groups; g++)
            for (int h = 0; h < SLIP_SPLIT; h++) {
                vf scale = scale_of(dtype, w, (group + g) * w->blocks + b, h * SLIP_LANES);
                for (int t = 0; t < tokens; t++) {
                    vf scaled = has_scales(dtype) ? part[g][t][h] * scale : part[g][t][h];
                    sum[g][t][2 * h] += widen(scaled, 0);
                    sum[g][t][2 * h + 1] += widen(scaled, 1);
                }
            }
    }
}

/* Products of two f32 are exact in f64: the columns may be cut anywhere. */
SLIP_INLINE void tile_exact(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t group, const double *const *x,
                            vd sum[tokens][2 * SLIP_SPLIT])
{
    const size_t bytes = slip_block_bytes(dtype);
    for (int t = 0; t < tokens; t++)
        for (int h = 0; h < 2 * SLIP_SPLIT; h++)
            sum[t][h] = (vd){0};
    for (int64_t b = 0; b < w->blocks; b++)
        for (int h = 0; h < SLIP_SPLIT; h++) {
            vf scale = scale_of(dtype, w, group * w->blocks + b, h * SLIP_LANES);
            for (int c = 0; c < SLIP_MXFP4_BLOCK; c += COLUMNS) {
                const decoding d = begin_columns(dtype, w->data + (size_t)(group * w->blocks + b) * bytes, c);
#pragma GCC unroll 4
                for (int i = 0; i < COLUMNS; i++) {
                    vf k = decode(dtype, &d, i, h * SLIP_LANES);
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

/* How many of a group's 16 rows exist. */
SLIP_INLINE size_t rows_in(const slip_matrix *w, int64_t group)
{
    int64_t left = w->rows - group * SLIP_GROUP;
    return (size_t)(left < SLIP_GROUP ? left : SLIP_GROUP);
}

SLIP_INLINE void groups_linear(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t first, int64_t group,
                               const float *const *x, float *const *y)
{
    vf sum[groups][tokens][SLIP_SPLIT];
    tile_linear(dtype, groups, tokens, w, first + group, x, sum);
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
            memcpy(y[t] + (group + g) * SLIP_GROUP, sum[g][t], rows_in(w, group + g) * sizeof(float));
}

/* y += gain * sum for the rows of one group that exist. */
SLIP_INLINE void add_group(const slip_matrix *w, int64_t group, const vd sum[2 * SLIP_SPLIT], float gain, double *y)
{
    double total[SLIP_GROUP];
    size_t rows = rows_in(w, group);
    memcpy(total, sum, sizeof total);
    for (size_t r = 0; r < rows; r++)
        y[group * SLIP_GROUP + (int64_t)r] += (double)gain * total[r];
}

SLIP_INLINE void groups_partial(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t first, int64_t group,
                                const float *const *x, const float *gain, double *const *y)
{
    vd sum[groups][tokens][2 * SLIP_SPLIT];
    tile_partial(dtype, groups, tokens, w, first + group, x, sum);
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
            add_group(w, group + g, sum[g][t], gain[t], y[t]);
}

SLIP_INLINE void groups_exact(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t first, int64_t group,
                              const double *const *x, const float *gain, double *const *y)
{
    vd sum[tokens][2 * SLIP_SPLIT];
    (void)groups; /* one */
    tile_exact(dtype, tokens, w, first + group, x, sum);
    for (int t = 0; t < tokens; t++)
        add_group(w, group, sum[t], gain[t], y[t]);
}

/* Groups side by side: several where few tokens would leave the pipeline idle. */
#define SIDE_BY_SIDE(tokens) (SLIP_TILE / (tokens) < SLIP_SIDE_MOST ? SLIP_TILE / (tokens) : SLIP_SIDE_MOST)
#define ONE_BY_ONE(tokens) 1

/* All rows for `tokens` tokens. */
#define ROWS(GROUPS, SIDE, dtype, tokens, w, ...) \
    do { \
        const int side = SIDE(tokens); \
        int64_t group = 0; \
        for (; group + side <= (w)->groups; group += side) \
            GROUPS(dtype, side, tokens, w, first, group, __VA_ARGS__); \
        for (; side > 1 && group < (w)->groups; group++) \
            GROUPS(dtype, 1, tokens, w, first, group, __VA_ARGS__); \
    } while (0)

#endif
