/* What a device op left in memory, as the program's buffers: for --trace-ops and the tests that compare executors. Slow, and on the
 * host; nothing of it runs in an ordinary step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"
#include "kernels/cuda/host/state.h"

/* A device buffer on the host, and how to read it. */
typedef struct {
    slip_executor *executor;
    const slip_cuda_op *op;
    int32_t rows;            /* of the op: rows or head rows of the step */
    void *memory[6];         /* freed when the op is done */
    int count;
    slip_status status;
} view;

/* NULL once anything of the view has failed: so the last one of several tells of all. */
static void *take(view *v, size_t bytes)
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
    void *host = take(v, bytes);
    if (host)
        v->status = slip_cuda_engine_download(v->executor->engine, host, device, bytes);
    return v->status == SLIP_OK ? host : NULL;
}

static float *take_row(view *v, int64_t columns)
{
    return take(v, (size_t)columns * sizeof(float));
}

static int32_t groups(const view *v)
{
    return (v->rows + SLIP_TOKENS - 1) / SLIP_TOKENS;
}

static void emit(const view *v, int32_t op, slip_buffer buffer, int32_t row, const float *values, int64_t count)
{
    v->executor->options.watch(v->executor->options.watch_context, op, buffer, row, values, count);
}

/* ---- readers: one row's values ---- */

static void sum_partial(const float *data, const slip_cuda_partial *p, int32_t row, int64_t columns, float *out)
{
    for (int64_t c = 0; c < columns; c++) {
        out[c] = 0;
        for (int32_t s = 0; s < p->parts; s++)
            out[c] += data[(((int64_t)(row / SLIP_TOKENS) * p->parts + s) * SLIP_TOKENS + row % SLIP_TOKENS) * p->stride + c];
    }
}

static void watch_partial(view *v, const slip_cuda_partial *p, int32_t op, slip_buffer buffer, int64_t columns)
{
    const float *data = fetch(v, p->data, (size_t)groups(v) * (size_t)p->parts * SLIP_TOKENS * (size_t)p->stride * sizeof(float));
    float *out = take_row(v, columns);
    for (int32_t row = 0; out && row < v->rows; row++) {
        sum_partial(data, p, row, columns, out);
        emit(v, op, buffer, row, out, columns);
    }
}

/* Experts' results, weighted as SUM does. */
static void watch_picks(view *v, int32_t op, int64_t columns)
{
    const slip_cuda_op *o = v->op;
    const slip_cuda_partial *p = &o->out;
    size_t picks = (size_t)v->rows * (size_t)o->top_k;
    const float *data = fetch(v, p->data, picks * (size_t)p->parts * (size_t)p->stride * sizeof(float));
    const int32_t *expert = fetch(v, o->picks.expert, picks * sizeof *expert);
    const float *weight = fetch(v, o->picks.weight, picks * sizeof *weight);
    float *out = take_row(v, columns);
    for (int32_t row = 0; out && row < v->rows; row++) {
        memset(out, 0, (size_t)columns * sizeof *out);
        for (int32_t k = 0; k < o->top_k; k++) {
            int64_t pick = (int64_t)row * o->top_k + k;
            bool ours = expert[pick] >= o->first_expert && expert[pick] < o->first_expert + o->experts;
            for (int32_t s = 0; ours && s < p->parts; s++)
                for (int64_t c = 0; c < columns; c++)
                    out[c] += weight[pick] * data[(pick * p->parts + s) * p->stride + c];
        }
        emit(v, op, SLIP_BUFFER_PARTIAL, row, out, columns);
    }
}

static void watch_route(view *v, int32_t op)
{
    int32_t k = v->op->top_k;
    size_t picks = (size_t)v->rows * (size_t)k;
    const int32_t *expert = fetch(v, v->op->picks.expert, picks * sizeof *expert);
    const float *weight = fetch(v, v->op->picks.weight, picks * sizeof *weight);
    float out[2 * SLIP_MAX_TOP_K];
    for (int32_t row = 0; weight && row < v->rows; row++) {
        for (int32_t i = 0; i < k; i++) {
            out[i] = (float)expert[row * k + i];
            out[k + i] = weight[row * k + i];
        }
        emit(v, op, SLIP_BUFFER_ROUTE, row, out, 2 * k);
    }
}

/* A form on the host. */
typedef struct {
    const uint8_t *q8;
    const float *scale, *ssq;
    const uint16_t *hi, *lo;
} host_form;

static host_form fetch_form(view *v, const slip_cuda_act *form)
{
    host_form h = {0};
    size_t cells = (size_t)groups(v) * SLIP_TOKENS * (size_t)form->padded, blocks = cells / SLIP_F8_BLOCK * sizeof(float);
    if (form->hi) {
        h.hi = fetch(v, form->hi, cells * sizeof *h.hi);
        h.lo = fetch(v, form->lo, cells * sizeof *h.lo);
    } else {
        h.q8 = fetch(v, form->q8, cells);
        h.scale = fetch(v, form->scale, blocks);
    }
    if (form->ssq)
        h.ssq = fetch(v, form->ssq, blocks);
    return h;
}

static float form_factor(const slip_cuda_op *op, const slip_cuda_act *form, const host_form *h, int32_t row)
{
    double sum = 0;
    if (!h->ssq)
        return 1;
    for (int32_t b = 0; b * SLIP_F8_BLOCK < form->columns; b++)
        sum += h->ssq[((int64_t)(row / SLIP_TOKENS) * (form->padded / SLIP_F8_BLOCK) + b) * SLIP_TOKENS + row % SLIP_TOKENS];
    return 1.0f / sqrtf((float)(sum / form->columns) + op->epsilon);
}

static float form_value(const slip_cuda_act *form, const host_form *h, int32_t row, int64_t column)
{
    int64_t group = row / SLIP_TOKENS, token = row % SLIP_TOKENS;
    if (h->hi) {
        int64_t at = ((group * (form->padded / 8) + column / 8) * SLIP_TOKENS + token) * 8 + column % 8;
        return slip_bf16_to_f32(h->hi[at]) + slip_bf16_to_f32(h->lo[at]);
    }
    int64_t at = ((group * (form->padded / 16) + column / 16) * SLIP_TOKENS + token) * 16 + column % 16;
    float scale = h->scale[(group * (form->padded / SLIP_F8_BLOCK) + column / SLIP_F8_BLOCK) * SLIP_TOKENS + token];
    return slip_e4m3_to_f32(h->q8[at]) * scale;
}

static void watch_form(view *v, const slip_cuda_act *form, int32_t op, slip_buffer buffer)
{
    if (!form->hi && !form->q8)
        return;
    host_form h = fetch_form(v, form);
    float *out = take_row(v, form->columns);
    for (int32_t row = 0; out && row < v->rows; row++) {
        float factor = form_factor(v->op, form, &h, row);
        for (int64_t c = 0; c < form->columns; c++)
            out[c] = form_value(form, &h, row, c) * factor;
        emit(v, op, buffer, row, out, form->columns);
    }
}

static void watch_x(view *v, int32_t op)
{
    const float *x = fetch(v, v->op->x, (size_t)v->rows * (size_t)v->op->hidden * sizeof *x);
    for (int32_t row = 0; x && row < v->rows; row++)
        emit(v, op, SLIP_BUFFER_X, row, x + (int64_t)row * v->op->hidden, v->op->hidden);
}

/* Rotated queries, then this step's keys and values as the cache has them. */
static void watch_qkv(view *v, int32_t op, const slip_step *step)
{
    const slip_cuda_cache *cache = &v->op->cache;
    const slip_cache *shape = &cache->shape;
    size_t slots = (size_t)v->executor->limits.sequences * (size_t)cache->slots * (size_t)shape->kv_heads;
    const uint16_t *q = fetch(v, v->op->query, (size_t)v->rows * (size_t)shape->q_heads * (size_t)cache->k_width * sizeof *q);
    const uint16_t *k = fetch(v, cache->k, slots * (size_t)cache->k_width * sizeof *k);
    const uint16_t *values = fetch(v, cache->v, slots * (size_t)cache->v_width * sizeof *values);
    float *out = take_row(v, v->executor->program->width[SLIP_BUFFER_QKV]);
    for (int32_t s = 0; out && s < step->span_count; s++)
        for (int32_t i = 0; i < step->span[s].count; i++) {
            const slip_span *span = &step->span[s];
            int64_t slot = ((int64_t)span->sequence * cache->slots + (span->position + i) % cache->slots) * shape->kv_heads, at = 0;
            for (int32_t h = 0; h < shape->q_heads; h++)
                for (int32_t d = 0; d < shape->head_dim; d++)
                    out[at++] = slip_bf16_to_f32(q[((int64_t)(span->row + i) * shape->q_heads + h) * cache->k_width + d]);
            for (int32_t h = 0; h < shape->kv_heads; h++)
                for (int32_t d = 0; d < shape->head_dim; d++)
                    out[at++] = slip_bf16_to_f32(k[(slot + h) * cache->k_width + d]);
            for (int32_t h = 0; h < shape->kv_heads; h++)
                for (int32_t d = 0; d < shape->v_head_dim; d++)
                    out[at++] = slip_bf16_to_f32(values[(slot + h) * cache->v_width + d]) / shape->value_scale;
            emit(v, op, SLIP_BUFFER_QKV, span->row + i, out, at);
        }
}

static void watch_sum(view *v)
{
    const slip_op *ops = v->executor->program->ops;
    if (v->op->x)
        watch_x(v, v->op->first);
    if (v->op->vector[0])
        watch_form(v, &v->op->form, v->op->last, ops[v->op->last].out);
}

static void watch_op(view *v, const slip_step *step)
{
    const slip_cuda_op *op = v->op;
    const slip_op *last = &v->executor->program->ops[op->last];
    switch (op->kind) {
    case SLIP_CUDA_EMBED: watch_partial(v, &op->out, op->last, SLIP_BUFFER_PARTIAL, op->hidden); break;
    case SLIP_CUDA_SUM: watch_sum(v); break;
    case SLIP_CUDA_SELECT:
    case SLIP_CUDA_ATTEND:
    case SLIP_CUDA_SWIGLU: watch_form(v, &op->form, op->last, last->out); break;
    case SLIP_CUDA_FORM: watch_form(v, &op->form, op->last, SLIP_BUFFER_HEADS); break;
    case SLIP_CUDA_LINEAR:
        if (last->kind == SLIP_OP_LINEAR)
            watch_partial(v, &op->out, op->last, last->out, op->matrix.rows);
        break;
    case SLIP_CUDA_ROPE: watch_qkv(v, op->last, step); break;
    case SLIP_CUDA_TOPK: watch_route(v, op->last); break;
    case SLIP_CUDA_DOWN: watch_picks(v, op->last, op->hidden); break;
    default: break;
    }
}

slip_status slip_cuda_watch(slip_executor *executor, int32_t op, const slip_step *step)
{
    const slip_cuda_op *o = &executor->list.ops[op];
    view v = {.executor = executor, .op = o, .rows = o->head_rows ? step->head_count : step->row_count, .status = SLIP_OK};
    watch_op(&v, step);
    for (int i = 0; i < v.count; i++)
        free(v.memory[i]);
    return v.status;
}
