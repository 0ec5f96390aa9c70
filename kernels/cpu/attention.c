/* Rotation, the K/V cache and attention. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/round.h"
#include "kernels/cpu/state.h"

/* Cosines and sines of every row of the step. Angles are f32 products as in the reference: position * inverse frequency. */
void slip_cpu_rope_tables(slip_executor *executor)
{
    const slip_step *step = executor->step;
    for (int32_t r = 0; r < executor->program->rope_count; r++) {
        int64_t half = executor->program->rope[r].rotary_dim / 2;
        for (int32_t s = 0; s < step->span_count; s++)
            for (int32_t i = 0; i < step->span[s].count; i++) {
                float position = (float)(step->span[s].position + i);
                int64_t base = (step->span[s].row + i) * half;
                for (int64_t c = 0; c < half; c++) {
                    float angle = position * executor->inverse_frequency[r][c];
                    executor->cosine[r][base + c] = cosf(angle);
                    executor->sine[r][base + c] = sinf(angle);
                }
            }
    }
}

/* NeoX rotation of the first 2 * half dimensions: the pair of dimension i is i + half. */
static void rotate(float *head, const float *cosine, const float *sine, int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i] + a * sine[i];
    }
}

static void norm_head(float *head, const float *weight, int32_t head_dim, float epsilon)
{
    double squares = 0;
    for (int32_t c = 0; c < head_dim; c++)
        squares += (double)head[c] * head[c];
    float scale = 1.0f / sqrtf((float)(squares / head_dim) + epsilon);
    for (int32_t c = 0; c < head_dim; c++)
        head[c] = weight[c] * (head[c] * scale);
}

static void round_bf16(float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = slip_round_bf16(values[i]);
}

/* Q and K heads of one row: norms where there are weights, then the rotation. */
static void turn_heads(const slip_executor *executor, const slip_op *op, const slip_cache *shape, int32_t row, float *qkv)
{
    int64_t half = executor->program->rope[shape->rope].rotary_dim / 2;
    const float *cosine = executor->cosine[shape->rope] + row * half, *sine = executor->sine[shape->rope] + row * half;
    for (int32_t h = 0; h < shape->q_heads + shape->kv_heads; h++) {
        float *head = qkv + (int64_t)h * shape->head_dim;
        int32_t weight = op->weight[h < shape->q_heads ? 0 : 1];
        if (weight != SLIP_NO_WEIGHT)
            norm_head(head, executor->vectors[weight], shape->head_dim, shape->norm_epsilon);
        rotate(head, cosine, sine, half);
        if (executor->options.round_activations)
            round_bf16(head, shape->head_dim);
    }
}

/* The first K/V head of a sequence in a layer. */
static int64_t first_head(const slip_executor *executor, int32_t layer, const slip_span *span)
{
    const slip_cache *shape = &executor->program->cache[layer];
    return slip_cache_first(shape->window, executor->cache[layer].slots, span->sequence, span->base) * shape->kv_heads;
}

static void store_row(const slip_executor *executor, int32_t layer, const slip_span *span, int64_t position, const float *qkv)
{
    const slip_cache *shape = &executor->program->cache[layer];
    const slip_cpu_cache *cache = &executor->cache[layer];
    const float *k = qkv + (int64_t)shape->q_heads * shape->head_dim, *v = k + (int64_t)shape->kv_heads * shape->head_dim;
    int64_t head = first_head(executor, layer, span) + position % cache->slots * shape->kv_heads;
    for (int32_t h = 0; h < shape->kv_heads; h++) {
        memcpy(cache->k + (head + h) * cache->k_width, k + (int64_t)h * shape->head_dim, (size_t)shape->head_dim * sizeof *k);
        float *to = cache->v + (head + h) * cache->v_width;
        for (int32_t c = 0; c < shape->v_head_dim; c++)
            to[c] = v[(int64_t)h * shape->v_head_dim + c] * shape->value_scale;
        if (executor->options.round_activations)
            round_bf16(to, shape->v_head_dim);
    }
}

slip_status slip_cpu_rope_store(slip_executor *executor, const slip_op *op)
{
    const slip_cache *shape = &executor->program->cache[op->layer];
    for (int32_t s = 0; s < executor->step->span_count; s++) {
        const slip_span *span = &executor->step->span[s];
        for (int32_t i = 0; i < span->count; i++) {
            float *qkv = slip_cpu_row(executor, op->in, span->row + i);
            turn_heads(executor, op, shape, span->row + i, qkv);
            store_row(executor, op->layer, span, span->position + i, qkv);
        }
    }
    return SLIP_OK;
}

/* Keys seen by row i of a span: causal, or to the end of the span; a window of W keys counts the query's own. */
static void visible(const slip_cache *shape, const slip_span *span, int32_t i, int64_t *first, int64_t *last)
{
    int64_t position = span->position + i;
    *last = shape->whole_block ? span->position + span->count - 1 : position;
    *first = shape->window && position >= shape->window ? position - shape->window + 1 : 0;
}

/* Local query heads [first_q, first_q + count) read local K/V head `kv`. */
static int32_t heads_of(const slip_cache *shape, int32_t kv, int32_t *first_q)
{
    int32_t count = 0;
    for (int32_t h = shape->q_heads - 1; h >= 0; h--)
        if ((shape->first_q + h) / shape->group - shape->first_kv == kv) {
            *first_q = h;
            count++;
        }
    return count;
}

/* Queries of one K/V head that are computed together. */
typedef struct {
    slip_query query[SLIP_QUERIES];
    int32_t count;
} batch;

static void add_query(slip_executor *executor, const slip_op *op, const slip_span *span, int32_t row, int32_t head, batch *b)
{
    const slip_cache *shape = &executor->program->cache[op->layer];
    const slip_cpu_cache *cache = &executor->cache[op->layer];
    const float *sinks = op->weight[0] == SLIP_NO_WEIGHT ? NULL : executor->vectors[op->weight[0]];
    float *q = executor->heads + b->count * (executor->k_width + executor->v_width);
    slip_query *query = &b->query[b->count];
    *query = (slip_query){.q = q,
                          .sink = sinks ? &sinks[head] : NULL,
                          .score = executor->score + b->count * executor->score_stride,
                          .sum = q + executor->k_width,
                          .out = slip_cpu_row(executor, op->out, span->row + row) + (int64_t)head * shape->v_head_dim};
    visible(shape, span, row, &query->first, &query->last);
    memcpy(q, slip_cpu_row(executor, op->in, span->row + row) + (int64_t)head * shape->head_dim, (size_t)shape->head_dim * sizeof *q);
    memset(q + shape->head_dim, 0, (size_t)(cache->k_width - shape->head_dim) * sizeof *q);
    b->count++;
}

static void attend_head(slip_executor *executor, const slip_op *op, const slip_span *span, const slip_cache_view *view, int32_t kv)
{
    const slip_cache *shape = &executor->program->cache[op->layer];
    int32_t first_q = 0, heads = heads_of(shape, kv, &first_q);
    batch b = {.count = 0};
    for (int32_t i = 0; i < span->count; i++)
        for (int32_t h = 0; h < heads; h++) {
            add_query(executor, op, span, i, first_q + h, &b);
            if (b.count < SLIP_QUERIES && (i + 1 < span->count || h + 1 < heads))
                continue;
            executor->math->attend(view, kv, b.query, b.count, shape->head_dim, shape->v_head_dim);
            b.count = 0;
        }
}

slip_status slip_cpu_attend(slip_executor *executor, const slip_op *op)
{
    const slip_cache *shape = &executor->program->cache[op->layer];
    const slip_cpu_cache *cache = &executor->cache[op->layer];
    for (int32_t s = 0; s < executor->step->span_count; s++) {
        const slip_span *span = &executor->step->span[s];
        int64_t head = first_head(executor, op->layer, span);
        slip_cache_view view = {cache->k + head * cache->k_width,
                                cache->v + head * cache->v_width,
                                cache->slots,
                                shape->kv_heads,
                                cache->k_width,
                                cache->v_width};
        for (int32_t kv = 0; kv < shape->kv_heads; kv++)
            attend_head(executor, op, span, &view, kv);
    }
    return SLIP_OK;
}
