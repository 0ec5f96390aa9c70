#include "ranks/model/emit.h"

#include <assert.h>
#include <stdlib.h>

slip_status slip_emit_start(slip_emitter *e, int32_t ops, int32_t tensors, int32_t parts)
{
    slip_program *program = e->program;
    *program = (slip_program){.mask_token = -1, .logits_ahead = 1};
    program->ops = calloc((size_t)ops, sizeof *program->ops);
    program->tensors = calloc((size_t)tensors, sizeof *program->tensors);
    program->parts = calloc((size_t)parts, sizeof *program->parts);
    if (!program->ops || !program->tensors || !program->parts) {
        slip_program_free(program);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a program of %d ops", ops);
    }
    program->op_room = ops;
    program->tensor_room = tensors;
    program->part_room = parts;
    slip_emit_width(e, SLIP_BUFFER_X, e->model->hidden);
    slip_emit_width(e, SLIP_BUFFER_H, e->model->hidden);
    slip_emit_width(e, SLIP_BUFFER_PARTIAL, e->model->hidden);
    return SLIP_OK;
}

void slip_program_free(slip_program *program)
{
    free(program->ops);
    free(program->tensors);
    free(program->parts);
    *program = (slip_program){0};
}

/* ---- weights ---- */

/* What this rank has of an axis of a weight: all of it, where the weight is not cut along it. */
static slip_range share(const slip_emitter *e, const slip_weight_row *row, slip_cut cut, slip_axis axis, int64_t size)
{
    if (row->cut != cut)
        return (slip_range){0, size};
    return slip_placement_axis(e->placement, e->model, row, e->layer, axis);
}

/* A weight that stands once may be named from within a layer. */
static slip_weight_spec spec_of(const slip_emitter *e, const slip_weight_row *row)
{
    bool once = row->place == SLIP_AT_TARGET || row->place == SLIP_AT_DRAFT;
    return slip_weight_make(e->model, row, once ? -1 : e->layer);
}

int32_t slip_emit_tensor(slip_emitter *e, const slip_weight_row *row)
{
    slip_program *program = e->program;
    assert(program->tensor_count < program->tensor_room);
    program->tensors[program->tensor_count] = (slip_tensor){
        .experts = row->kind == SLIP_KIND_EXPERTS ? e->placement->experts : (slip_range){-1, 0},
        .columns = share(e, row, SLIP_CUT_COLUMNS, row->columns, spec_of(e, row).columns),
        .first_part = program->part_count,
        .vector = slip_weight_is_vector(row),
    };
    return program->tensor_count++;
}

void slip_emit_rows(slip_emitter *e, const slip_weight_row *row, slip_range rows)
{
    slip_program *program = e->program;
    assert(program->part_count < program->part_room);
    program->parts[program->part_count++] = (slip_part){.weight = spec_of(e, row), .rows = rows};
    slip_tensor *tensor = &program->tensors[program->tensor_count - 1];
    tensor->parts++;
    tensor->rows += rows.count;
}

void slip_emit_share(slip_emitter *e, const slip_weight_row *row)
{
    slip_emit_rows(e, row, share(e, row, SLIP_CUT_ROWS, row->rows, spec_of(e, row).rows));
}

int32_t slip_emit_weight(slip_emitter *e, const slip_weight_row *row)
{
    int32_t tensor = slip_emit_tensor(e, row);
    slip_emit_share(e, row);
    return tensor;
}

int32_t slip_emit_stacked(slip_emitter *e, const slip_weight_row *upper, const slip_weight_row *lower)
{
    int32_t tensor = slip_emit_weight(e, upper);
    slip_emit_share(e, lower);
    return tensor;
}

/* ---- ops ---- */

slip_op *slip_emit_op(slip_emitter *e, slip_op_kind kind, slip_buffer in, slip_buffer out, int32_t w0, int32_t w1)
{
    slip_program *program = e->program;
    assert(program->op_count < program->op_room);
    slip_op *op = &program->ops[program->op_count++];
    *op = (slip_op){.kind = kind, .in = in, .out = out, .weight = {w0, w1}, .layer = e->layer};
    return op;
}

void slip_emit_width(slip_emitter *e, slip_buffer buffer, int64_t width)
{
    if (e->program->width[buffer] < width)
        e->program->width[buffer] = width;
}

void slip_emit_embed(slip_emitter *e, const slip_weight_row *embed, int32_t mask_weight)
{
    slip_emit_op(e, SLIP_OP_EMBED, SLIP_BUFFER_X, SLIP_BUFFER_PARTIAL, slip_emit_weight(e, embed), mask_weight);
    slip_emit_op(e, SLIP_OP_ALLREDUCE, SLIP_BUFFER_PARTIAL, SLIP_BUFFER_X, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT);
}

void slip_emit_norm(slip_emitter *e, const slip_weight_row *norm)
{
    slip_emit_op(e, SLIP_OP_NORM, SLIP_BUFFER_X, SLIP_BUFFER_H, slip_emit_weight(e, norm), SLIP_NO_WEIGHT);
}

static void emit_sum_into_x(slip_emitter *e)
{
    slip_emit_op(e, SLIP_OP_ALLREDUCE, SLIP_BUFFER_PARTIAL, SLIP_BUFFER_X, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT)->add = true;
}

void slip_emit_output(slip_emitter *e, const slip_weight_row *o)
{
    slip_op *op = slip_emit_op(e, SLIP_OP_LINEAR, SLIP_BUFFER_HEADS, SLIP_BUFFER_PARTIAL, slip_emit_weight(e, o), SLIP_NO_WEIGHT);
    /* By the model's heads, not by the rank's: all rank counts agree. */
    op->cut_anywhere = slip_weight_attention(e->model, o, e->layer)->v_head_dim % SLIP_MXFP4_BLOCK != 0;
    emit_sum_into_x(e);
}

/* Gate and up are [2 * columns], what they make is as wide as this rank's columns of down. */
static int64_t emit_gated_widths(slip_emitter *e, int32_t down)
{
    int64_t columns = e->program->tensors[down].columns.count;
    slip_emit_width(e, SLIP_BUFFER_GATE_UP, 2 * columns);
    slip_emit_width(e, SLIP_BUFFER_ACT, columns);
    return columns;
}

void slip_emit_dense(slip_emitter *e, const slip_weight_row *gate, const slip_weight_row *up, const slip_weight_row *down)
{
    int32_t gate_up = slip_emit_stacked(e, gate, up), back = slip_emit_weight(e, down);
    int64_t columns = emit_gated_widths(e, back);
    slip_emit_op(e, SLIP_OP_LINEAR, SLIP_BUFFER_H, SLIP_BUFFER_GATE_UP, gate_up, SLIP_NO_WEIGHT);
    slip_emit_op(e, SLIP_OP_SWIGLU, SLIP_BUFFER_GATE_UP, SLIP_BUFFER_ACT, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT)->column = (int32_t)columns;
    slip_emit_op(e, SLIP_OP_LINEAR, SLIP_BUFFER_ACT, SLIP_BUFFER_PARTIAL, back, SLIP_NO_WEIGHT);
    emit_sum_into_x(e);
}

void slip_emit_route(slip_emitter *e, const slip_weight_row *router, const slip_weight_row *bias)
{
    slip_program *program = e->program;
    int32_t weight = slip_emit_weight(e, router), bias_weight = bias != NULL ? slip_emit_weight(e, bias) : SLIP_NO_WEIGHT;
    slip_emit_op(e, SLIP_OP_ROUTE, SLIP_BUFFER_H, SLIP_BUFFER_ROUTE, weight, bias_weight);
    program->experts = e->model->experts;
    program->top_k = e->model->top_k;
    program->scoring = e->model->scoring;
    program->norm_top_k = e->model->norm_top_k;
    program->routed_scale = e->model->routed_scale;
    slip_emit_width(e, SLIP_BUFFER_ROUTE, 2 * e->model->top_k);
}

void slip_emit_experts(slip_emitter *e, const slip_weight_row *gate, const slip_weight_row *up, const slip_weight_row *down)
{
    int32_t gate_up = slip_emit_stacked(e, gate, up), back = slip_emit_weight(e, down);
    emit_gated_widths(e, back);
    slip_emit_op(e, SLIP_OP_EXPERTS, SLIP_BUFFER_H, SLIP_BUFFER_PARTIAL, gate_up, back);
    emit_sum_into_x(e);
}

void slip_emit_head(slip_emitter *e, const slip_weight_row *norm, const slip_weight_row *head)
{
    int32_t norm_weight = slip_emit_weight(e, norm), head_weight = slip_emit_weight(e, head);
    slip_range vocabulary = e->placement->vocabulary;
    slip_emit_op(e, SLIP_OP_SELECT, SLIP_BUFFER_X, SLIP_BUFFER_SELECT, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT);
    slip_emit_op(e, SLIP_OP_NORM, SLIP_BUFFER_SELECT, SLIP_BUFFER_SELECT, norm_weight, SLIP_NO_WEIGHT)->logit_rows = true;
    slip_emit_op(e, SLIP_OP_LINEAR, SLIP_BUFFER_SELECT, SLIP_BUFFER_LOGITS, head_weight, SLIP_NO_WEIGHT)->logit_rows = true;
    e->program->vocabulary = vocabulary;
    slip_emit_width(e, SLIP_BUFFER_SELECT, e->model->hidden);
    slip_emit_width(e, SLIP_BUFFER_LOGITS, vocabulary.count);
}

/* ---- caches ---- */

/* Index of the rope (theta, rotary_dim), added when new. */
static int32_t find_rope(slip_program *program, double theta, int32_t rotary_dim)
{
    for (int32_t i = 0; i < program->rope_count; i++)
        if (program->rope[i].theta == theta && program->rope[i].rotary_dim == rotary_dim)
            return i;
    assert(program->rope_count < SLIP_MAX_ROPES);
    program->rope[program->rope_count] = (slip_rope){theta, rotary_dim};
    return program->rope_count++;
}

slip_cache *slip_emit_cache(slip_emitter *e, const slip_attention *attention, slip_range q, slip_range kv, float value_scale)
{
    slip_program *program = e->program;
    assert(program->cache_count < SLIP_MAX_LAYERS);
    slip_cache *cache = &program->cache[program->cache_count++];
    *cache = (slip_cache){
        .q_heads = (int32_t)q.count,
        .kv_heads = (int32_t)kv.count,
        .group = attention->heads / attention->kv_heads,
        .first_q = (int32_t)q.first,
        .first_kv = (int32_t)kv.first,
        .head_dim = attention->head_dim,
        .v_head_dim = attention->v_head_dim,
        .window = attention->window,
        .rope = find_rope(program, attention->rope_theta, attention->rotary_dim),
        .value_scale = value_scale,
    };
    slip_emit_width(e, SLIP_BUFFER_QKV, q.count * attention->head_dim + kv.count * (attention->head_dim + attention->v_head_dim));
    slip_emit_width(e, SLIP_BUFFER_HEADS, q.count * attention->v_head_dim);
    return cache;
}

static const char *const op_names[SLIP_OP_KINDS] = {
#define NAME(kind, name) [SLIP_OP_##kind] = #kind,
    SLIP_OP_TABLE(NAME)
#undef NAME
};

const char *slip_op_name(slip_op_kind kind)
{
    return kind < SLIP_OP_KINDS ? op_names[kind] : "?";
}
