/* Compiled once an instruction set; SLIP_MATH names the table that this compilation fills, SLIP_TILE how many tokens share
 * one decoded block (registers permitting). Neither changes a result. */
#include <math.h>

#include "kernels/cpu/math.h"
#include "kernels/cpu/product.h"

#define STRING(x) #x
#define NAME_OF(x) STRING(x)

#define EACH_DTYPE(CASE) CASE(SLIP_F32) CASE(SLIP_BF16) CASE(SLIP_F8E4M3) CASE(SLIP_MXFP4)

/* Wide tiles first: a token goes through the same operations in each. Experts often get one to three. */
#define TILE(size, GROUPS, SIDE, dtype, ...) \
    for (; (size) <= SLIP_TILE && t + (size) <= tokens; t += (size)) \
    ROWS(GROUPS, SIDE, dtype, size, w, __VA_ARGS__)

#define EACH_TILE(GROUPS, SIDE, dtype, ...) \
    case dtype: \
        TILE(8, GROUPS, SIDE, dtype, __VA_ARGS__); \
        TILE(4, GROUPS, SIDE, dtype, __VA_ARGS__); \
        TILE(3, GROUPS, SIDE, dtype, __VA_ARGS__); \
        TILE(2, GROUPS, SIDE, dtype, __VA_ARGS__); \
        TILE(1, GROUPS, SIDE, dtype, __VA_ARGS__); \
        break;

static void linear(const slip_matrix *w, int64_t expert, const float *const *x, int32_t tokens, float *const *y)
{
    int64_t first = expert * w->groups;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype) EACH_TILE(groups_linear, SIDE_BY_SIDE, dtype, x + t, y + t)
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
#define CASE(dtype) EACH_TILE(groups_partial, SIDE_BY_SIDE, dtype, x + t, gain + t, y + t)
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
#define CASE(dtype) EACH_TILE(groups_exact, ONE_BY_ONE, dtype, x + t, gain + t, y + t)
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

/* ---- the rest of a layer ---- */

static void norm(const float *x, const float *weight, int64_t columns, float epsilon, float *out)
{
    vf squares[SLIP_SPLIT] = {0};
    for (int64_t c = 0; c < columns; c += 16)
        for (int h = 0; h < SLIP_SPLIT; h++) {
            vf v = load_lanes(x + c + h * SLIP_LANES);
            squares[h] = v * v + squares[h];
        }
    float scale = 1.0f / sqrtf(sum16(squares) / (float)columns + epsilon);
    for (int64_t c = 0; c < columns; c++)
        out[c] = weight[c] * (x[c] * scale);
}

SLIP_INLINE vf silu(vf gate)
{
    return gate / (1.0f + exp_lanes(-gate));
}

static void swiglu(const float *gate, const float *up, int64_t count, float *act)
{
    int64_t whole = count / SLIP_LANES * SLIP_LANES, padded = slip_padded(count);
    for (int64_t i = 0; i < whole; i += SLIP_LANES)
        store_lanes(act + i, silu(load_lanes(gate + i)) * load_lanes(up + i));
    if (whole < count) {
        float g[SLIP_LANES] = {0}, u[SLIP_LANES] = {0};
        memcpy(g, gate + whole, (size_t)(count - whole) * sizeof *g);
        memcpy(u, up + whole, (size_t)(count - whole) * sizeof *u);
        store_lanes(act + whole, silu(load_lanes(g)) * load_lanes(u));
    }
    for (int64_t i = count; i < padded; i++)
        act[i] = 0;
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

enum { KEYS = 4 }; /* that are multiplied by a query at once: each load of the query serves all of them */

/* q times each of `keys` keys, `stride` apart; `keys` is 1 or KEYS, a constant where this is inlined. */
SLIP_INLINE void dot_keys(const float *q, const float *k, int64_t stride, int64_t width, int keys, float out[keys])
{
    vf sum[keys][SLIP_SPLIT];
    for (int i = 0; i < keys; i++)
        for (int h = 0; h < SLIP_SPLIT; h++)
            sum[i][h] = splat(0);
    for (int64_t c = 0; c < width; c += 16)
        for (int h = 0; h < SLIP_SPLIT; h++) {
            vf part = load_lanes(q + c + h * SLIP_LANES);
            for (int i = 0; i < keys; i++)
                sum[i][h] = part * load_lanes(k + i * stride + c + h * SLIP_LANES) + sum[i][h];
        }
    for (int i = 0; i < keys; i++)
        out[i] = sum16(sum[i]);
}

/* Scores of a run of keys; returns the largest of them and `most`. */
static float score_run(const slip_cache_view *cache, int32_t kv_head, const float *q, float scale, run keys, float most, float *score)
{
    const int64_t stride = cache->kv_heads * cache->k_width;
    const float *k = cache->k + (keys.slot * cache->kv_heads + kv_head) * cache->k_width;
    int64_t i = 0;
    for (; i + KEYS <= keys.count; i += KEYS)
        dot_keys(q, k + i * stride, stride, cache->k_width, KEYS, score + i);
    for (; i < keys.count; i++)
        dot_keys(q, k + i * stride, stride, cache->k_width, 1, score + i);
    for (i = 0; i < keys.count; i++) {
        score[i] *= scale;
        most = score[i] > most ? score[i] : most;
    }
    return most;
}

enum { V_TILE = 8, V_DIMS = V_TILE * SLIP_LANES }; /* vectors of a value row that are summed at once, and their dimensions */

/* sum[..] += weights times `vectors` vectors of each value row of a run; `vectors` is a constant where this is inlined. */
SLIP_INLINE void add_run(const slip_cache_view *cache, const float *v, run keys, const float *weight, int vectors, vf *sum)
{
    for (int64_t i = 0; i < keys.count; i++, v += cache->kv_heads * cache->v_width) {
        vf factor = splat(weight[i]);
        for (int c = 0; c < vectors; c++)
            sum[c] = factor * load_lanes(v + SLIP_LANES * c) + sum[c];
    }
}

/* Weighted sum of values, dimensions [first_dim, first_dim + SLIP_LANES * vectors). */
SLIP_INLINE void sum_values(const slip_cache_view *cache, int32_t kv_head, const run *runs, int run_count, const float *weight,
                            int64_t first_dim, int vectors, vf *sum)
{
    vf acc[V_TILE];
    for (int c = 0; c < vectors; c++)
        acc[c] = splat(0);
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
    vf total[SLIP_SPLIT] = {0};
    for (int64_t i = 0; i < keys; i += 16)
        for (int h = 0; h < SLIP_SPLIT; h++) {
            vf e = exp_lanes(load_lanes(score + i + h * SLIP_LANES) - most);
            store_lanes(score + i + h * SLIP_LANES, e);
            total[h] += e;
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
    for (int64_t c = 0; c < v_head_dim; c += V_DIMS) {
        vf sum[V_TILE] = {0};
        int64_t left = v_head_dim - c < V_DIMS ? v_head_dim - c : V_DIMS;
        if (left == V_DIMS)
            sum_values(cache, kv_head, runs, run_count, score, c, V_TILE, sum);
        else
            for (int64_t i = 0; i < left; i += SLIP_LANES)
                sum_values(cache, kv_head, runs, run_count, score, c + i, 1, sum + i / SLIP_LANES);
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
