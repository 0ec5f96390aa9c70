#include "ranks/model/emit.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

slip_status slip_emit_start(slip_program *program, int32_t ops, int32_t tensors, int32_t parts)
{
    *program = (slip_program){.mask_token = -1};
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
    return SLIP_OK;
}

void slip_program_free(slip_program *program)
{
    free(program->ops);
    free(program->tensors);
    free(program->parts);
    *program = (slip_program){0};
}

int32_t slip_emit_tensor(slip_program *program, slip_range experts, slip_range columns)
{
    assert(program->tensor_count < program->tensor_room);
    program->tensors[program->tensor_count] =
        (slip_tensor){.experts = experts, .columns = columns, .first_part = program->part_count};
    return program->tensor_count++;
}

void slip_emit_part(slip_program *program, const char *prefix, const char *name, slip_range rows)
{
    assert(program->part_count < program->part_room);
    slip_part *part = &program->parts[program->part_count++];
    snprintf(part->dataset, sizeof part->dataset, "%s/%s", prefix, name);
    part->rows = rows;
    slip_tensor *tensor = &program->tensors[program->tensor_count - 1];
    tensor->parts++;
    tensor->rows += rows.count;
}

int32_t slip_emit_matrix(slip_program *program, const char *prefix, const char *name, slip_range rows, slip_range columns)
{
    int32_t tensor = slip_emit_tensor(program, SLIP_NOT_STACKED, columns);
    slip_emit_part(program, prefix, name, rows);
    return tensor;
}

int32_t slip_emit_vector(slip_program *program, const char *prefix, const char *name, slip_range values)
{
    int32_t tensor = slip_emit_matrix(program, prefix, name, (slip_range){0, 1}, values);
    program->tensors[tensor].vector = true;
    return tensor;
}

slip_op *slip_emit_op(slip_program *program, slip_op_kind kind, slip_buffer in, slip_buffer out, int32_t w0, int32_t w1)
{
    assert(program->op_count < program->op_room);
    slip_op *op = &program->ops[program->op_count++];
    *op = (slip_op){.kind = kind, .in = in, .out = out, .weight = {w0, w1}, .layer = -1};
    return op;
}

void slip_emit_width(slip_program *program, slip_buffer buffer, int64_t width)
{
    if (program->width[buffer] < width)
        program->width[buffer] = width;
}

void slip_emit_embed(slip_program *program, int32_t embed_weight, int32_t mask_weight)
{
    slip_emit_op(program, SLIP_OP_EMBED, SLIP_BUFFER_X, SLIP_BUFFER_PARTIAL, embed_weight, mask_weight);
    slip_emit_op(program, SLIP_OP_ALLREDUCE, SLIP_BUFFER_PARTIAL, SLIP_BUFFER_X, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT);
}

void slip_emit_norm(slip_program *program, const char *prefix, const char *name, int64_t hidden)
{
    int32_t weight = slip_emit_vector(program, prefix, name, (slip_range){0, hidden});
    slip_emit_op(program, SLIP_OP_NORM, SLIP_BUFFER_X, SLIP_BUFFER_H, weight, SLIP_NO_WEIGHT);
}

static void emit_sum_into_x(slip_program *program)
{
    slip_emit_op(program, SLIP_OP_ALLREDUCE, SLIP_BUFFER_PARTIAL, SLIP_BUFFER_X, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT)->add = true;
}

void slip_emit_output(slip_program *program, const char *prefix, slip_range q_heads, int32_t v_head_dim, int64_t hidden)
{
    slip_range columns = {q_heads.first * v_head_dim, q_heads.count * v_head_dim};
    int32_t weight = slip_emit_matrix(program, prefix, "o", (slip_range){0, hidden}, columns);
    slip_op *op = slip_emit_op(program, SLIP_OP_LINEAR, SLIP_BUFFER_HEADS, SLIP_BUFFER_PARTIAL, weight, SLIP_NO_WEIGHT);
    op->cut_anywhere = v_head_dim % SLIP_MXFP4_BLOCK != 0; /* of the model, not of the rank: all rank counts agree */
    emit_sum_into_x(program);
}

void slip_emit_dense(slip_program *program, const char *prefix, slip_range columns, int64_t hidden)
{
    int32_t gate_up = slip_emit_tensor(program, SLIP_NOT_STACKED, (slip_range){0, hidden});
    slip_emit_part(program, prefix, "gate", columns);
    slip_emit_part(program, prefix, "up", columns);
    int32_t down = slip_emit_matrix(program, prefix, "down", (slip_range){0, hidden}, columns);
    slip_emit_op(program, SLIP_OP_LINEAR, SLIP_BUFFER_H, SLIP_BUFFER_GATE_UP, gate_up, SLIP_NO_WEIGHT);
    slip_emit_op(program, SLIP_OP_SWIGLU, SLIP_BUFFER_GATE_UP, SLIP_BUFFER_ACT, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT)->column =
        (int32_t)columns.count;
    slip_emit_op(program, SLIP_OP_LINEAR, SLIP_BUFFER_ACT, SLIP_BUFFER_PARTIAL, down, SLIP_NO_WEIGHT);
    emit_sum_into_x(program);
    slip_emit_width(program, SLIP_BUFFER_GATE_UP, 2 * columns.count);
    slip_emit_width(program, SLIP_BUFFER_ACT, columns.count);
}

void slip_emit_head(slip_program *program, const char *norm_prefix, slip_range vocabulary, int64_t hidden)
{
    int32_t norm = slip_emit_vector(program, norm_prefix, "norm", (slip_range){0, hidden});
    int32_t head = slip_emit_matrix(program, "target", "head", vocabulary, (slip_range){0, hidden});
    slip_emit_op(program, SLIP_OP_SELECT, SLIP_BUFFER_X, SLIP_BUFFER_SELECT, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT);
    slip_op *op = slip_emit_op(program, SLIP_OP_NORM, SLIP_BUFFER_SELECT, SLIP_BUFFER_SELECT, norm, SLIP_NO_WEIGHT);
    op->head_rows = true;
    op = slip_emit_op(program, SLIP_OP_LINEAR, SLIP_BUFFER_SELECT, SLIP_BUFFER_LOGITS, head, SLIP_NO_WEIGHT);
    op->head_rows = true;
    program->vocabulary = vocabulary;
    slip_emit_width(program, SLIP_BUFFER_SELECT, hidden);
    slip_emit_width(program, SLIP_BUFFER_LOGITS, vocabulary.count);
}

int32_t slip_emit_rope(slip_program *program, double theta, int32_t rotary_dim)
{
    for (int32_t i = 0; i < program->rope_count; i++)
        if (program->rope[i].theta == theta && program->rope[i].rotary_dim == rotary_dim)
            return i;
    assert(program->rope_count < SLIP_MAX_ROPES);
    program->rope[program->rope_count] = (slip_rope){theta, rotary_dim};
    return program->rope_count++;
}

int64_t slip_cache_width(const slip_cache *cache)
{
    return (int64_t)cache->q_heads * cache->head_dim + (int64_t)cache->kv_heads * (cache->head_dim + cache->v_head_dim);
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
