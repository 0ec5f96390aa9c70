/* Compiled once an instruction set; SLIP_MATH names the table that this compilation fills, SLIP_TILE how many tokens share
 * one decoded block (registers permitting). Neither changes a result. */
#include <math.h>

#include "kernels/cpu/decode.h"
#include "kernels/cpu/math.h"

#define STRING(x) #x
#define NAME_OF(x) STRING(x)

/* ---- matrix times tokens ----
 *
 * Lanes are rows: no sum ever crosses lanes, and a row's sum runs over the columns in their order, whatever the number of
 * tokens or groups that are computed side by side to keep the pipeline busy.
 */

/* The processor's own prefetcher stops at every page; weights go on. Asks for what lies `ahead` bytes beyond a block. */
SLIP_INLINE void prefetch_block(const unsigned char *block, size_t bytes, size_t ahead)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(block + ahead + i);
}

/* Rows of `groups` groups from `group` on, for `tokens` tokens; both are constants where this is inlined. */
SLIP_INLINE void tile_linear(slip_dtype dtype, int groups, int tokens, const slip_matrix *w, int64_t group, const float *const *x,
                             v16f sum[groups][tokens])
{
    const size_t bytes = slip_block_bytes(dtype);
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
            sum[g][t] = splat16(0);
    for (int64_t b = 0; b < w->blocks; b++) {
        v16f part[groups][tokens];
        for (int g = 0; g < groups; g++)
            for (int t = 0; t < tokens; t++)
                part[g][t] = splat16(0);
        for (int g = 0; g < groups; g++)
            prefetch_block(w->data + (size_t)((group + g) * w->blocks + b) * bytes, bytes, 2048);
#pragma GCC unroll 4
        for (int c = 0; c < SLIP_MXFP4_BLOCK; c++)
            for (int g = 0; g < groups; g++) {
                v16f k = decode(dtype, w->data + (size_t)((group + g) * w->blocks + b) * bytes, c);
                for (int t = 0; t < tokens; t++)
                    part[g][t] = k * splat16(x[t][b * SLIP_MXFP4_BLOCK + c]) + part[g][t];
            }
        for (int g = 0; g < groups; g++)
            for (int t = 0; t < tokens; t++)
                if (dtype == SLIP_F8E4M3 || dtype == SLIP_MXFP4)
                    sum[g][t] = part[g][t] * block_scale(dtype, w, (group + g) * w->blocks + b) + sum[g][t];
                else
                    sum[g][t] = part[g][t] + sum[g][t];
    }
}

SLIP_INLINE v8d splat8d(double x)
{
    return (v8d){x, x, x, x, x, x, x, x};
}

/* One block after the other in f32, blocks added up in f64: sums of f32 values lose nothing there that f32 would show, so the
 * total rounds to the same f32 wherever the columns are cut between ranks, if only at whole blocks. */
SLIP_INLINE void tile_partial(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t group, const float *const *x, v8d low[tokens],
                              v8d high[tokens])
{
    const size_t bytes = slip_block_bytes(dtype);
    for (int t = 0; t < tokens; t++)
        low[t] = high[t] = splat8d(0);
    for (int64_t b = 0; b < w->blocks; b++) {
        v16f part[tokens];
        for (int t = 0; t < tokens; t++)
            part[t] = splat16(0);
        prefetch_block(w->data + (size_t)(group * w->blocks + b) * bytes, bytes, 2048);
#pragma GCC unroll 4
        for (int c = 0; c < SLIP_MXFP4_BLOCK; c++) {
            v16f k = decode(dtype, w->data + (size_t)(group * w->blocks + b) * bytes, c);
            for (int t = 0; t < tokens; t++)
                part[t] = k * splat16(x[t][b * SLIP_MXFP4_BLOCK + c]) + part[t];
        }
        for (int t = 0; t < tokens; t++) {
            if (dtype == SLIP_F8E4M3 || dtype == SLIP_MXFP4)
                part[t] *= block_scale(dtype, w, group * w->blocks + b);
            low[t] += widen8(low8(part[t]));
            high[t] += widen8(high8(part[t]));
        }
    }
}

/* Products of two f32 are exact in f64: the columns may be cut anywhere. */
SLIP_INLINE void tile_exact(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t group, const double *const *x, v8d low[tokens],
                            v8d high[tokens])
{
    const size_t bytes = slip_block_bytes(dtype);
    for (int t = 0; t < tokens; t++)
        low[t] = high[t] = splat8d(0);
    for (int64_t b = 0; b < w->blocks; b++) {
        v16f scale = splat16(1);
        if (dtype == SLIP_F8E4M3 || dtype == SLIP_MXFP4)
            scale = block_scale(dtype, w, group * w->blocks + b);
#pragma GCC unroll 2
        for (int c = 0; c < SLIP_MXFP4_BLOCK; c++) {
            v16f k = decode(dtype, w->data + (size_t)(group * w->blocks + b) * bytes, c);
            if (dtype == SLIP_F8E4M3 || dtype == SLIP_MXFP4)
                k *= scale;
            v8d k_low = widen8(low8(k)), k_high = widen8(high8(k));
            for (int t = 0; t < tokens; t++) {
                v8d column = splat8d(x[t][b * SLIP_MXFP4_BLOCK + c]);
                low[t] = k_low * column + low[t];
                high[t] = k_high * column + high[t];
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
    v16f sum[groups][tokens];
    tile_linear(dtype, groups, tokens, w, first + group, x, sum);
    for (int g = 0; g < groups; g++)
        for (int t = 0; t < tokens; t++)
            memcpy(y[t] + (group + g) * SLIP_GROUP, &sum[g][t], rows_in(w, group + g) * sizeof(float));
}

/* All rows for `tokens` tokens; several groups at once where few tokens would leave the pipeline idle. */
SLIP_INLINE void rows_linear(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t first, const float *const *x, float *const *y)
{
    int64_t group = 0;
    const int side = tokens >= SLIP_TILE ? 1 : tokens >= SLIP_TILE / 2 ? 2 : 4;
    for (; group + side <= w->groups; group += side)
        groups_linear(dtype, side, tokens, w, first, group, x, y);
    for (; group < w->groups; group++)
        groups_linear(dtype, 1, tokens, w, first, group, x, y);
}

/* y += gain * sum for the rows of one group that exist. */
SLIP_INLINE void add_group(const slip_matrix *w, int64_t group, int tokens, const v8d *low, const v8d *high, const float *gain,
                           double *const *y)
{
    size_t rows = rows_in(w, group);
    for (int t = 0; t < tokens; t++)
        for (size_t r = 0; r < rows; r++)
            y[t][group * SLIP_GROUP + (int64_t)r] += (double)gain[t] * (r < 8 ? low[t][r] : high[t][r - 8]);
}

SLIP_INLINE void rows_partial(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t first, const float *const *x, const float *gain,
                              double *const *y)
{
    for (int64_t group = 0; group < w->groups; group++) {
        v8d low[tokens], high[tokens];
        tile_partial(dtype, tokens, w, first + group, x, low, high);
        add_group(w, group, tokens, low, high, gain, y);
    }
}

SLIP_INLINE void rows_exact(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t first, const double *const *x, const float *gain,
                            double *const *y)
{
    for (int64_t group = 0; group < w->groups; group++) {
        v8d low[tokens], high[tokens];
        tile_exact(dtype, tokens, w, first + group, x, low, high);
        add_group(w, group, tokens, low, high, gain, y);
    }
}

#define EACH_DTYPE(CASE) CASE(SLIP_F32) CASE(SLIP_BF16) CASE(SLIP_F8E4M3) CASE(SLIP_MXFP4)

/* Full tiles, then halves, pairs and single tokens: a token goes through the same operations in each. Experts often get two. */
#define EACH_TILE(dtype, ROWS, ...) \
    case dtype: \
        for (; t + SLIP_TILE <= tokens; t += SLIP_TILE) \
            ROWS(dtype, SLIP_TILE, __VA_ARGS__); \
        for (; t + SLIP_TILE / 2 <= tokens; t += SLIP_TILE / 2) \
            ROWS(dtype, SLIP_TILE / 2, __VA_ARGS__); \
        for (; t + 2 <= tokens; t += 2) \
            ROWS(dtype, 2, __VA_ARGS__); \
        for (; t < tokens; t++) \
            ROWS(dtype, 1, __VA_ARGS__); \
        break;

static void linear(const slip_matrix *w, int64_t expert, const float *const *x, int32_t tokens, float *const *y)
{
    int64_t first = expert * w->groups;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype) EACH_TILE(dtype, rows_linear, w, first, x + t, y + t)
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

static void linear_partial(const slip_matrix *w, int64_t expert, const float *const *x, const float *gain, int32_t tokens, double *const *y)
{
    int64_t first = expert * w->groups;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype) EACH_TILE(dtype, rows_partial, w, first, x + t, gain + t, y + t)
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

static void linear_exact(const slip_matrix *w, int64_t expert, const double *const *x, const float *gain, int32_t tokens, double *const *y)
{
    int64_t first = expert * w->groups;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype) EACH_TILE(dtype, rows_exact, w, first, x + t, gain + t, y + t)
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

/* ---- the rest of a layer ---- */

static void norm(const float *x, const float *weight, int64_t columns, float epsilon, float *out)
{
    v16f squares = splat16(0);
    for (int64_t c = 0; c < columns; c += 16) {
        v16f v = load16(x + c);
        squares = v * v + squares;
    }
    float scale = 1.0f / sqrtf(sum16(squares) / (float)columns + epsilon);
    for (int64_t c = 0; c < columns; c++)
        out[c] = weight[c] * (x[c] * scale);
}

static void swiglu(const float *gate, const float *up, int64_t count, float *act)
{
    int64_t whole = count / 16 * 16, padded = slip_padded(count);
    for (int64_t i = 0; i < whole; i += 16) {
        v16f g = load16(gate + i);
        store16(act + i, g / (1.0f + exp16(-g)) * load16(up + i));
    }
    if (whole < count) {
        float g[16] = {0}, u[16] = {0};
        memcpy(g, gate + whole, (size_t)(count - whole) * sizeof *g);
        memcpy(u, up + whole, (size_t)(count - whole) * sizeof *u);
        store16(act + whole, load16(g) / (1.0f + exp16(-load16(g))) * load16(u));
    }
    for (int64_t i = count; i < padded; i++)
        act[i] = 0;
}

SLIP_INLINE float dot(const float *a, const float *b, int64_t width)
{
    v16f sum = splat16(0);
    for (int64_t c = 0; c < width; c += 16)
        sum = load16(a + c) * load16(b + c) + sum;
    return sum16(sum);
}

/* Positions [first, last] of a ring are at most two runs of slots; a full cache is one. */
typedef struct {
    int64_t slot, count;
} run;

SLIP_INLINE int split_runs(const slip_cache_view *cache, int64_t first, int64_t last, run runs[2])
{
    int64_t slot = first % cache->slots, count = last - first + 1, before_wrap = cache->slots - slot;
    if (count <= before_wrap) {
        runs[0] = (run){slot, count};
        return 1;
    }
    runs[0] = (run){slot, before_wrap};
    runs[1] = (run){0, count - before_wrap};
    return 2;
}

/* Scores of a run of keys; returns the largest of them and `most`. */
static float score_run(const slip_cache_view *cache, int32_t kv_head, const float *q, float scale, run keys, float most, float *score)
{
    const float *k = cache->k + (keys.slot * cache->kv_heads + kv_head) * cache->k_width;
    for (int64_t i = 0; i < keys.count; i++, k += cache->kv_heads * cache->k_width) {
        float s = dot(q, k, cache->k_width) * scale;
        score[i] = s;
        most = s > most ? s : most;
    }
    return most;
}

enum { V_TILE = 8 }; /* vectors of a value row that are summed at once: 128 dimensions */

/* sum[..] += weights times `vectors` vectors of each value row of a run; `vectors` is a constant where this is inlined. */
SLIP_INLINE void add_run(const slip_cache_view *cache, const float *v, run keys, const float *weight, int vectors, v16f *sum)
{
    for (int64_t i = 0; i < keys.count; i++, v += cache->kv_heads * cache->v_width)
        for (int c = 0; c < vectors; c++)
            sum[c] = splat16(weight[i]) * load16(v + 16 * c) + sum[c];
}

/* Weighted sum of values, dimensions [first_dim, first_dim + 16 * vectors). */
SLIP_INLINE void sum_values(const slip_cache_view *cache, int32_t kv_head, const run *runs, int run_count, const float *weight,
                            int64_t first_dim, int vectors, v16f *sum)
{
    v16f acc[V_TILE];
    for (int c = 0; c < vectors; c++)
        acc[c] = splat16(0);
    for (int r = 0; r < run_count; weight += runs[r].count, r++)
        add_run(cache, cache->v + (runs[r].slot * cache->kv_heads + kv_head) * cache->v_width + first_dim, runs[r], weight, vectors, acc);
    for (int c = 0; c < vectors; c++)
        sum[c] = acc[c];
}

/* exp(score - most) in place; returns their sum. */
static float exponentials(float *score, int64_t keys, float most)
{
    for (int64_t i = keys; i < keys + 16; i++)
        score[i] = -INFINITY;
    v16f total = splat16(0);
    for (int64_t i = 0; i < keys; i += 16) {
        v16f e = exp16(load16(score + i) - most);
        store16(score + i, e);
        total += e;
    }
    return sum16(total);
}

static void attend(const slip_cache_view *cache, int32_t kv_head, const float *q, int32_t head_dim, int32_t v_head_dim, int64_t first,
                   int64_t last, const float *sink, float *score, float *out)
{
    run runs[2];
    int run_count = split_runs(cache, first, last, runs);
    float most = sink ? *sink : -INFINITY, scale = 1.0f / sqrtf((float)head_dim), *at = score;
    for (int r = 0; r < run_count; at += runs[r].count, r++)
        most = score_run(cache, kv_head, q, scale, runs[r], most, at);
    float denominator = exponentials(score, last - first + 1, most) + (sink ? expf(*sink - most) : 0.0f);
    for (int64_t c = 0; c < v_head_dim; c += 16 * V_TILE) {
        v16f sum[V_TILE] = {0};
        int64_t left = v_head_dim - c < 16 * V_TILE ? v_head_dim - c : 16 * V_TILE;
        if (left == 16 * V_TILE)
            sum_values(cache, kv_head, runs, run_count, score, c, V_TILE, sum);
        else
            for (int64_t i = 0; i < left; i += 16)
                sum_values(cache, kv_head, runs, run_count, score, c + i, 1, sum + i / 16);
        for (int i = 0; i < V_TILE; i++)
            sum[i] /= denominator;
        memcpy(out + c, sum, (size_t)left * sizeof *out);
    }
}

const slip_math SLIP_MATH = {
    .name = NAME_OF(SLIP_MATH),
    .linear = linear,
    .linear_partial = linear_partial,
    .linear_exact = linear_exact,
    .norm = norm,
    .swiglu = swiglu,
    .attend = attend,
};
