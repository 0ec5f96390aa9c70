/* Reads what a device op left in memory as the program's buffers, for --trace-ops and the tests that compare executors. Slow, on the host, and
 * never part of an ordinary step. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"
#include "kernels/cuda/host/state.h"
#include "kernels/cuda/layout/cache.h"

/* A device buffer on the host, and how to read it. */
typedef struct {
    slip_executor *executor;
    const slip_cuda_op *op;
    const slip_step *step;
    int32_t rows;    /* of the op: rows or logit rows of the step */
    void *memory[6]; /* freed when the op is done */
    int count;
    slip_status status;
} view;

/* NULL once anything of the view has failed, so checking the last of several results checks all. */
static void *alloc(view *v, size_t bytes)
{
    void *host = v->status == SLIP_OK ? malloc(bytes + 1) : NULL;
    if (host)
        v->memory[v->count++] = host;
    else if (v->status == SLIP_OK)
        v->status = slip_fail(SLIP_ERR_FAILED, "out of memory for a buffer of %zu bytes", bytes);
    return host;
}

static const void *fetch(view *v, const void *device, size_t bytes)
{
    void *host = alloc(v, bytes);
    if (host)
        v->status = slip_cuda_engine_download(v->executor->engine, host, device, bytes);
    return v->status == SLIP_OK ? host : NULL;
}

static float *alloc_row(view *v, int64_t columns)
{
    return alloc(v, (size_t)columns * sizeof(float));
}

static int32_t groups(const view *v)
{
    return slip_groups_of(v->rows);
}

static void emit(const view *v, int32_t op, slip_buffer buffer, int32_t row, const float *values, int64_t count)
{
    v->executor->options.watch(v->executor->options.watch_context, op, buffer, row, values, count);
}

/* The program's op whose result the device op leaves. */
static const slip_op *last_op(const view *v)
{
    return &v->executor->program->ops[v->op->last];
}

/* ---- what the op table says is watched ---- */

static void sum_partial(const float *data, const slip_cuda_partial *p, int32_t row, int64_t columns, float *out)
{
    for (int64_t c = 0; c < columns; c++) {
        out[c] = 0;
        for (int32_t s = 0; s < p->parts; s++)
            out[c] += data[slip_partial_at(p, row, s) + c];
    }
}

/* The router's logits are no buffer of the program. */
static void watch_partial(view *v, const slip_cuda_partial *p)
{
    if (last_op(v)->kind == SLIP_OP_ROUTE)
        return;
    const float *data = fetch(v, p->data, slip_partial_floats(p, groups(v)) * sizeof(float));
    float *out = alloc_row(v, p->columns);
    for (int32_t row = 0; out && row < v->rows; row++) {
        sum_partial(data, p, row, p->columns, out);
        emit(v, v->op->last, last_op(v)->out, row, out, p->columns);
    }
}

/* Experts' results, weighted as REDUCE_NORM does. */
static void watch_experts(view *v, const slip_cuda_product *o)
{
    const slip_cuda_partial *p = &o->out;
    size_t picks = (size_t)v->rows * (size_t)o->top_k;
    const uint16_t *data = fetch(v, p->data, picks * (size_t)p->stride * sizeof *data);
    const int32_t *expert = fetch(v, o->picks.expert, picks * sizeof *expert);
    const float *weight = fetch(v, o->picks.weight, picks * sizeof *weight);
    float *out = alloc_row(v, p->columns);
    for (int32_t row = 0; out && row < v->rows; row++) {
        memset(out, 0, (size_t)p->columns * sizeof *out);
        for (int32_t k = 0; k < o->top_k; k++) {
            int32_t pick = slip_pick_of(row, o->top_k, k);
            bool ours = expert[pick] >= o->first_expert && expert[pick] < o->first_expert + o->experts;
            for (int64_t c = 0; ours && c < p->columns; c++)
                out[c] += weight[pick] * slip_bf16_to_f32(data[(int64_t)pick * p->stride + c]);
        }
        emit(v, v->op->last, last_op(v)->out, row, out, p->columns);
    }
}

static void watch_picks(view *v, const slip_cuda_topk *op)
{
    int32_t k = op->top_k;
    size_t picks = (size_t)v->rows * (size_t)k;
    const int32_t *expert = fetch(v, op->picks.expert, picks * sizeof *expert);
    const float *weight = fetch(v, op->picks.weight, picks * sizeof *weight);
    float out[2 * SLIP_MAX_TOP_K];
    for (int32_t row = 0; weight && row < v->rows; row++) {
        for (int32_t i = 0; i < k; i++) {
            out[i] = (float)expert[slip_pick_of(row, k, i)];
            out[k + i] = weight[slip_pick_of(row, k, i)];
        }
        emit(v, v->op->last, SLIP_BUFFER_ROUTE, row, out, 2 * k);
    }
}

/* An operand on the host. */
typedef struct {
    const uint8_t *q8;
    const float *scale, *ssq;
    const uint16_t *hi, *lo;
} host_operand;

static host_operand fetch_operand(view *v, const slip_cuda_operand *operand)
{
    host_operand h = {0};
    size_t cells = slip_operand_cells(operand->padded, groups(v)), blocks = cells / SLIP_F8_BLOCK * sizeof(float);
    if (operand->hi) {
        h.hi = fetch(v, operand->hi, cells * sizeof *h.hi);
        h.lo = fetch(v, operand->lo, cells * sizeof *h.lo);
    } else {
        h.q8 = fetch(v, operand->q8, cells);
        h.scale = fetch(v, operand->scale, blocks);
    }
    if (operand->ssq)
        h.ssq = fetch(v, operand->ssq, blocks);
    return h;
}

static float operand_factor(const view *v, const slip_cuda_operand *operand, const host_operand *h, int32_t row)
{
    double sum = 0;
    if (!h->ssq)
        return 1;
    for (int32_t b = 0; b * SLIP_F8_BLOCK < operand->columns; b++)
        sum += h->ssq[slip_operand_block_at(operand->padded, slip_group_of(row), slip_token_of(row), b)];
    return 1.0f / sqrtf((float)(sum / operand->columns) + v->executor->program->norm_epsilon);
}

static float operand_value(const slip_cuda_operand *operand, const host_operand *h, int32_t row, int32_t column)
{
    int32_t group = slip_group_of(row), token = slip_token_of(row), padded = operand->padded;
    if (h->hi) {
        assert(h->lo);
        int32_t at = slip_operand_bf16_at(padded, group, token, column);
        return slip_bf16_to_f32(h->hi[at]) + slip_bf16_to_f32(h->lo[at]);
    }
    assert(h->scale && h->q8);
    float scale = h->scale[slip_operand_block_at(padded, group, token, column / SLIP_F8_BLOCK)];
    return slip_e4m3_to_f32(h->q8[slip_operand_q8_at(padded, group, token, column)]) * scale;
}

static void watch_operand(view *v, const slip_cuda_operand *operand)
{
    if (!operand->hi && !operand->q8)
        return;
    host_operand h = fetch_operand(v, operand);
    float *out = alloc_row(v, operand->columns);
    for (int32_t row = 0; out && row < v->rows; row++) {
        float factor = operand_factor(v, operand, &h, row);
        for (int32_t c = 0; c < operand->columns; c++)
            out[c] = operand_value(operand, &h, row, c) * factor;
        emit(v, v->op->last, last_op(v)->out, row, out, operand->columns);
    }
}

/* Taps are shown by the target that keeps them. */
static void watch_quantised(view *v, const slip_cuda_quantise *op)
{
    if (op->rows)
        watch_operand(v, &op->operand);
}

/* x as the ALLREDUCE leaves it, and what the NORM behind it makes of it. */
static void watch_residual(view *v, const slip_cuda_reduce_norm *op)
{
    const float *x = op->x ? fetch(v, op->x, (size_t)v->rows * (size_t)op->hidden * sizeof *x) : NULL;
    for (int32_t row = 0; x && row < v->rows; row++)
        emit(v, v->op->first, SLIP_BUFFER_X, row, x + (int64_t)row * op->hidden, op->hidden);
    if (op->norm)
        watch_operand(v, &op->operand);
}

/* Rotated queries, then this step's keys and values as the cache has them. */
static void watch_qkv(view *v, const slip_cuda_rope *op)
{
    const slip_cuda_cache *cache = &op->cache;
    const slip_cache *shape = &cache->shape;
    size_t heads = slip_cuda_cache_heads(cache, &v->executor->limits);
    const uint16_t *q = fetch(v, op->query, (size_t)v->rows * (size_t)shape->q_heads * (size_t)cache->k_width * sizeof *q);
    const uint16_t *k = fetch(v, cache->k, heads * (size_t)cache->k_width * sizeof *k);
    const uint16_t *values = fetch(v, cache->v, heads * (size_t)cache->v_width * sizeof *values);
    float *out = alloc_row(v, v->executor->program->width[SLIP_BUFFER_QKV]);
    for (int32_t s = 0; out && s < v->step->span_count; s++)
        for (int32_t i = 0; i < v->step->span[s].count; i++) {
            const slip_span *span = &v->step->span[s];
            int32_t start = slip_cache_start(cache, span->sequence, (int32_t)span->base);
            int32_t slot = (int32_t)((span->position + i) % cache->slots), at = 0;
            for (int32_t h = 0; h < shape->q_heads; h++)
                for (int32_t d = 0; d < shape->head_dim; d++)
                    out[at++] = slip_bf16_to_f32(q[(int64_t)slip_query_head(cache, span->row + i, h) * cache->k_width + d]);
            for (int32_t h = 0; h < shape->kv_heads; h++)
                for (int32_t d = 0; d < shape->head_dim; d++)
                    out[at++] = slip_bf16_to_f32(k[(int64_t)slip_cache_at(cache, start, slot, h) * cache->k_width + d]);
            for (int32_t h = 0; h < shape->kv_heads; h++)
                for (int32_t d = 0; d < shape->v_head_dim; d++)
                    out[at++] = slip_bf16_to_f32(values[(int64_t)slip_cache_at(cache, start, slot, h) * cache->v_width + d]) /
                                shape->value_scale;
            emit(v, v->op->last, SLIP_BUFFER_QKV, span->row + i, out, at);
        }
}

static void watch_op(view *v)
{
    const slip_cuda_op *op = v->op;
#define WATCH_NOTHING(arguments)
#define WATCH_PARTIAL(arguments) watch_partial(v, &op->arguments.out)
#define WATCH_OPERAND(arguments) watch_operand(v, &op->arguments.operand)
#define WATCH_QUANTISED(arguments) watch_quantised(v, &op->arguments)
#define WATCH_RESIDUAL(arguments) watch_residual(v, &op->arguments)
#define WATCH_QKV(arguments) watch_qkv(v, &op->arguments)
#define WATCH_PICKS(arguments) watch_picks(v, &op->arguments)
#define WATCH_EXPERTS(arguments) watch_experts(v, &op->arguments)
#define WATCH(kind, arguments, function, watched, memory) \
    case SLIP_CUDA_##kind: WATCH_##watched(arguments); break;
    switch ((slip_cuda_op_kind)op->kind) {
        SLIP_CUDA_OP_TABLE(WATCH, WATCH) // NOLINT(bugprone-branch-clone): a row of the table each
    case SLIP_CUDA_OPS: break;
    }
#undef WATCH
}

slip_status slip_cuda_watch(slip_executor *executor, int32_t op, const slip_step *step)
{
    const slip_cuda_op *parts = &executor->list.ops[op], o = step->row_count > SLIP_CUDA_WHOLE_ABOVE ? slip_cuda_whole(*parts) : *parts;
    view v = {.executor = executor, .op = &o, .step = step, .rows = o.logit_rows ? step->logit_rows : step->row_count, .status = SLIP_OK};
    watch_op(&v);
    for (int i = 0; i < v.count; i++)
        free(v.memory[i]);
    return v.status; // NOLINT(clang-analyzer-unix.Malloc): freed above
}
