/* Attention of query heads that read one K/V head: all of a span's rows and of a group's heads, so that keys and values are loaded once
 * for many. Every query goes through its own keys in their order, by the same operations whoever shares the loads.
 *
 * Included by math_body.c alone.
 */
#ifndef SLIP_KERNELS_CPU_ATTEND_H
#define SLIP_KERNELS_CPU_ATTEND_H

#include <math.h>

#include "kernels/cpu/math.h"
#include "kernels/cpu/vector.h"

enum {
    KEYS = 4,   /* that meet a pair of queries at once */
    CHUNK = 32, /* keys that all queries go through before the next: they stay in the first cache */
};

/* Positions [first, end). */
typedef struct {
    int64_t first, end;
} span;

SLIP_INLINE span meet(span a, span b)
{
    return (span){a.first > b.first ? a.first : b.first, a.end < b.end ? a.end : b.end};
}

SLIP_INLINE span seen_by(const slip_query *query, span chunk)
{
    return meet(chunk, (span){query->first, query->last + 1});
}

/* Where one position's key or value lies; those of a chunk follow each other. */
SLIP_INLINE const float *key_at(const slip_cache_view *cache, int32_t kv_head, int64_t position)
{
    return cache->k + (position % cache->slots * cache->kv_heads + kv_head) * cache->k_width;
}

SLIP_INLINE const float *value_at(const slip_cache_view *cache, int32_t kv_head, int64_t position)
{
    return cache->v + (position % cache->slots * cache->kv_heads + kv_head) * cache->v_width;
}

/* ---- scores ---- */

/* `queries` queries times KEYS keys, `stride` apart; counts are constants where this is inlined. One half of the lanes after the other, as
 * registers hold no more sums. */
SLIP_INLINE void dot_keys(int queries, const float *const *q, const float *k, int64_t stride, int64_t width, float *const *out)
{
    vf sum[2][KEYS][SLIP_SPLIT];
#pragma GCC unroll 4
    for (int h = 0; h < SLIP_SPLIT; h++) {
        vf half[2][KEYS];
#pragma GCC unroll 2
        for (int j = 0; j < queries; j++)
#pragma GCC unroll 4
            for (int i = 0; i < KEYS; i++)
                half[j][i] = splat(0);
        for (int64_t c = h * SLIP_LANES; c < width; c += 16)
#pragma GCC unroll 4
            for (int i = 0; i < KEYS; i++) {
                const vf key = load_lanes(k + i * stride + c);
#pragma GCC unroll 2
                for (int j = 0; j < queries; j++)
                    half[j][i] = multiply_add(load_lanes(q[j] + c), key, half[j][i]);
            }
#pragma GCC unroll 2
        for (int j = 0; j < queries; j++)
#pragma GCC unroll 4
            for (int i = 0; i < KEYS; i++)
                sum[j][i][h] = half[j][i];
    }
#pragma GCC unroll 2
    for (int j = 0; j < queries; j++) {
        v4f four = sums_of_4(sum[j]);
        memcpy(out[j], &four, sizeof four);
    }
}

static float dot_key(const float *q, const float *k, int64_t width)
{
    vf sum[SLIP_SPLIT] = {0};
    for (int64_t c = 0; c < width; c += 16)
        for (int h = 0; h < SLIP_SPLIT; h++)
            sum[h] = multiply_add(load_lanes(q + c + h * SLIP_LANES), load_lanes(k + c + h * SLIP_LANES), sum[h]);
    return sum16(sum);
}

/* The scores of keys that all `queries` queries see. */
SLIP_INLINE void score_keys(int queries, const slip_cache_view *cache, int32_t kv_head, const slip_query *query, span keys)
{
    const int64_t stride = cache->kv_heads * cache->k_width;
    const float *q[2], *k = key_at(cache, kv_head, keys.first);
    float *out[2];
    int64_t i = keys.first;
    for (int j = 0; j < queries; j++) {
        q[j] = query[j].q;
        out[j] = query[j].score + (keys.first - query[j].first);
    }
    for (; i + KEYS <= keys.end; i += KEYS, k += KEYS * stride) {
        dot_keys(queries, q, k, stride, cache->k_width, out);
        for (int j = 0; j < queries; j++)
            out[j] += KEYS;
    }
    for (; i < keys.end; i++, k += stride)
        for (int j = 0; j < queries; j++)
            *out[j]++ = dot_key(q[j], k, cache->k_width);
}

/* ---- values ---- */

enum { V_TILE = 4, V_LEAST = SLIP_MXFP4_BLOCK / SLIP_LANES < V_TILE ? SLIP_MXFP4_BLOCK / SLIP_LANES : V_TILE };

/* sum += weights times `vectors` vectors of each value row. */
SLIP_INLINE void add_vectors(int queries, int vectors, const float *v, int64_t stride, int64_t keys, const float *const *weight,
                             float *const *sum)
{
    vf total[2][V_TILE];
#pragma GCC unroll 2
    for (int j = 0; j < queries; j++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++)
            total[j][c] = load_lanes(sum[j] + c * SLIP_LANES);
    for (int64_t i = 0; i < keys; i++, v += stride) {
#pragma GCC unroll 2
        for (int j = 0; j < queries; j++) {
            const vf factor = splat(weight[j][i]);
#pragma GCC unroll 4
            for (int c = 0; c < vectors; c++)
                total[j][c] = multiply_add(factor, load_lanes(v + c * SLIP_LANES), total[j][c]);
        }
    }
#pragma GCC unroll 2
    for (int j = 0; j < queries; j++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++)
            store_lanes(sum[j] + c * SLIP_LANES, total[j][c]);
}

/* Adds the values of keys that all `queries` queries see. */
SLIP_INLINE void add_values(int queries, const slip_cache_view *cache, int32_t kv_head, const slip_query *query, span keys)
{
    const int64_t stride = cache->kv_heads * cache->v_width, count = keys.end - keys.first;
    const float *weight[2], *v = value_at(cache, kv_head, keys.first);
    float *sum[2];
    int64_t c = 0;
    for (int j = 0; j < queries; j++) {
        weight[j] = query[j].score + (keys.first - query[j].first);
        sum[j] = query[j].sum;
    }
    for (; c < cache->v_width; c += (c + V_TILE * SLIP_LANES <= cache->v_width ? V_TILE : V_LEAST) * SLIP_LANES) {
        float *const at[2] = {sum[0] + c, sum[queries - 1] + c};
        if (c + V_TILE * SLIP_LANES <= cache->v_width)
            add_vectors(queries, V_TILE, v + c, stride, count, weight, at);
        else
            add_vectors(queries, V_LEAST, v + c, stride, count, weight, at);
    }
}

/* ---- queries, in pairs ---- */

/* The two passes over the keys. */
typedef enum { SCORES, VALUES } keys_pass;

static void one_query(keys_pass pass, const slip_cache_view *cache, int32_t kv_head, const slip_query *query, span keys)
{
    if (keys.first >= keys.end)
        return;
    if (pass == SCORES)
        score_keys(1, cache, kv_head, query, keys);
    else
        add_values(1, cache, kv_head, query, keys);
}

/* What both see goes together; before and behind it each is on its own. */
static void two_queries(keys_pass pass, const slip_cache_view *cache, int32_t kv_head, const slip_query *query, span chunk)
{
    const span a = seen_by(&query[0], chunk), b = seen_by(&query[1], chunk), both = meet(a, b);
    if (both.first >= both.end) {
        one_query(pass, cache, kv_head, &query[0], a);
        one_query(pass, cache, kv_head, &query[1], b);
        return;
    }
    one_query(pass, cache, kv_head, &query[0], (span){a.first, both.first});
    one_query(pass, cache, kv_head, &query[1], (span){b.first, both.first});
    if (pass == SCORES)
        score_keys(2, cache, kv_head, query, both);
    else
        add_values(2, cache, kv_head, query, both);
    one_query(pass, cache, kv_head, &query[0], (span){both.end, a.end});
    one_query(pass, cache, kv_head, &query[1], (span){both.end, b.end});
}

static void all_queries(keys_pass pass, const slip_cache_view *cache, int32_t kv_head, const slip_query *query, int32_t count, span all)
{
    for (span chunk = all; chunk.first < all.end; chunk.first = chunk.end) {
        const int64_t before_wrap = cache->slots - chunk.first % cache->slots, most = before_wrap < CHUNK ? before_wrap : CHUNK;
        chunk.end = chunk.first + most < all.end ? chunk.first + most : all.end;
        int32_t i = 0;
        for (; i + 2 <= count; i += 2)
            two_queries(pass, cache, kv_head, query + i, chunk);
        if (i < count)
            one_query(pass, cache, kv_head, query + i, seen_by(query + i, chunk));
    }
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

/* Products become weights; returns the denominator. */
static float softmax(const slip_query *query, float scale)
{
    const int64_t keys = query->last - query->first + 1;
    float most = query->sink ? *query->sink : -INFINITY;
    for (int64_t i = 0; i < keys; i++) {
        query->score[i] *= scale;
        most = query->score[i] > most ? query->score[i] : most;
    }
    return exponentials(query->score, keys, most) + (query->sink ? expf(*query->sink - most) : 0.0f);
}

static void attend(const slip_cache_view *cache, int32_t kv_head, const slip_query *query, int32_t count, int32_t head_dim,
                   int32_t v_head_dim)
{
    const float scale = 1.0f / sqrtf((float)head_dim);
    float denominator[SLIP_QUERIES];
    span all = {INT64_MAX, 0};
    for (int32_t i = 0; i < count; i++) {
        all.first = query[i].first < all.first ? query[i].first : all.first;
        all.end = query[i].last + 1 > all.end ? query[i].last + 1 : all.end;
        memset(query[i].sum, 0, (size_t)cache->v_width * sizeof(float));
    }
    all_queries(SCORES, cache, kv_head, query, count, all);
    for (int32_t i = 0; i < count; i++)
        denominator[i] = softmax(&query[i], scale);
    all_queries(VALUES, cache, kv_head, query, count, all);
    for (int32_t i = 0; i < count; i++)
        for (int32_t c = 0; c < v_head_dim; c++)
            query[i].out[c] = query[i].sum[c] / denominator[i];
}

#endif
