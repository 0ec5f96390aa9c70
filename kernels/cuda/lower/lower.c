#include "kernels/cuda/lower/lower.h"

#include <assert.h>
#include <stdlib.h>

#include "kernels/cuda/lower/lower_state.h"

/* ---- which formats of an operand are wanted ---- */

typedef struct {
    bool q8, hi;
} wanted_formats;

static void want(wanted_formats *formats, const slip_cuda_matrix *matrix)
{
    if (matrix->format == SLIP_WEIGHT_BF16)
        formats->hi = true;
    else
        formats->q8 = true;
}

/* What the products that read `buffer` want between op `from` and the next op that writes it: those whose weight 0 is a matrix. */
static wanted_formats formats_wanted(const lowering *l, int32_t from, slip_buffer buffer)
{
    wanted_formats formats = {false, false};
    for (int32_t i = from; i < l->end; i++) {
        const slip_op *op = &l->program->ops[i];
        if (op->in == buffer && op->weight[0] != SLIP_NO_WEIGHT && !l->program->tensors[op->weight[0]].vector)
            want(&formats, &l->source->tensors[op->weight[0]].matrix);
        if (op->out == buffer)
            break;
    }
    return formats;
}

slip_cuda_operand slip_lower_operand(const lowering *l, int32_t from, slip_buffer buffer, int64_t columns, bool norm)
{
    wanted_formats formats = formats_wanted(l, from, buffer);
    slip_cuda_operand operand = l->operand[buffer];
    operand.columns = (int32_t)columns;
    if (!formats.q8)
        operand.q8 = NULL;
    if (!formats.hi)
        operand.hi = operand.lo = NULL;
    if (!norm)
        operand.ssq = NULL;
    return operand;
}

/* ---- ops ---- */

slip_cuda_op *slip_lower_append(lowering *l, slip_cuda_op_kind kind, int32_t first, int32_t last)
{
    assert(l->list->count < l->room);
    slip_cuda_op *op = &l->list->ops[l->list->count++];
    *op = (slip_cuda_op){.kind = (int32_t)kind, .layer = l->program->ops[first].layer, .first = first, .last = last};
    return op;
}

const float *slip_lower_vector(const lowering *l, int32_t tensor)
{
    return tensor == SLIP_NO_WEIGHT ? NULL : l->source->tensors[tensor].vector;
}

static int32_t (*const lower_op[SLIP_OP_KINDS])(lowering *, int32_t) = {
#define LOWER(kind, name) [SLIP_OP_##kind] = slip_lower_##name,
    SLIP_OP_TABLE(LOWER)
#undef LOWER
};

/* Leaves in `first_op` and `count` which ops of the list it made. */
static void lower_phase(lowering *l, slip_phase phase, bool split, int32_t *first_op, int32_t *count)
{
    int32_t first = l->program->phase_first[phase];
    l->end = first + l->program->phase_count[phase];
    l->phase = phase;
    l->split = split;
    l->list->exchanges[phase] = l->routes = 0;
    *first_op = l->list->count;
    if (first < l->end)
        slip_lower_angles(l, first);
    for (int32_t i = first; i < l->end; i++)
        i = lower_op[l->program->ops[i].kind](l, i);
    if (l->program->phase_count[phase] > 0 && l->program->ops[l->end - 1].out == SLIP_BUFFER_LOGITS)
        slip_lower_sample(l);
    *count = l->list->count - *first_op;
}

slip_status slip_cuda_lower(const slip_cuda_source *source, slip_cuda_block *block, slip_cuda_list *list)
{
    slip_status status = slip_lower_check(source);
    if (status != SLIP_OK)
        return status;
    *list = (slip_cuda_list){0};
    lowering l = {
        .source = source,
        .program = source->program,
        .block = block,
        .list = list,
        .room = 2 * (2 * source->program->op_count + SLIP_PHASES * (2 + SLIP_MAX_ROPES)) + SLIP_CUDA_OPS,
        .groups = slip_groups_of(source->limits->rows),
        .logit_groups = slip_groups_of(source->limits->logit_rows),
    };
    list->ops = calloc((size_t)l.room, sizeof *list->ops);
    if (!list->ops)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d ops", l.room);
    slip_lower_memory(&l);
    for (int phase = SLIP_PHASES - 1; phase >= 0; phase--) {
        lower_phase(&l, phase, false, &list->whole_first[phase], &list->whole_count[phase]);
        lower_phase(&l, phase, true, &list->phase_first[phase], &list->phase_count[phase]);
    }
    if (source->histograms)
        slip_lower_again(&l);
    return SLIP_OK;
}

const char *slip_cuda_op_name(int32_t kind)
{
    static const char *const names[SLIP_CUDA_OPS] = {
#define NAME(kind, arguments, function, watched, memory) [SLIP_CUDA_##kind] = #kind,
        SLIP_CUDA_OP_TABLE(NAME, NAME)
#undef NAME
    };
    return kind >= 0 && kind < SLIP_CUDA_OPS ? names[kind] : "?";
}
