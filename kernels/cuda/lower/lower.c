#include "kernels/cuda/lower/lower.h"

#include <assert.h>
#include <stdlib.h>

#include "kernels/cuda/lower/lower_state.h"

/* ---- which forms a buffer's values are wanted in ---- */

typedef struct {
    bool q8, hi;
} wanted_forms;

static void want(wanted_forms *forms, const slip_cuda_matrix *matrix)
{
    if (matrix->store == SLIP_STORE_BF16)
        forms->hi = true;
    else
        forms->q8 = true;
}

/* What the readers of `buffer` want between op `from` and the next one that writes it. */
static wanted_forms forms_wanted(const lowering *l, int32_t from, slip_buffer buffer)
{
    wanted_forms forms = {false, false};
    for (int32_t i = from; i < l->end; i++) {
        const slip_op *op = &l->program->ops[i];
        bool product = op->kind == SLIP_OP_LINEAR || op->kind == SLIP_OP_ROUTE || op->kind == SLIP_OP_EXPERTS;
        if (product && op->in == buffer)
            want(&forms, &l->source->tensors[op->weight[0]].matrix);
        if (op->out == buffer)
            break;
    }
    return forms;
}

/* The buffer's memory, narrowed to the forms that are wanted behind op `from`. */
static slip_cuda_act form_for(const lowering *l, int32_t from, slip_buffer buffer, int64_t columns, bool norm)
{
    wanted_forms forms = forms_wanted(l, from, buffer);
    slip_cuda_act form = l->form[buffer];
    form.columns = (int32_t)columns;
    if (!forms.q8)
        form.q8 = NULL;
    if (!forms.hi)
        form.hi = form.lo = NULL;
    if (!norm)
        form.ssq = NULL;
    return form;
}

/* ---- ops ---- */

static slip_cuda_op *add_op(lowering *l, slip_cuda_op_kind kind, int32_t first, int32_t last)
{
    assert(l->list->count < l->room);
    slip_cuda_op *op = &l->list->ops[l->list->count++];
    *op = (slip_cuda_op){
        .kind = (int32_t)kind, .layer = l->program->ops[first].layer, .first = first, .last = last, .tap = -1, .mask_token = -1,
        .hidden = (int32_t)l->program->width[SLIP_BUFFER_X], .epsilon = l->program->norm_epsilon, .top_k = l->program->top_k,
        .picks = l->picks,
    };
    return op;
}

static const float *vector_of(const lowering *l, int32_t tensor)
{
    return tensor == SLIP_NO_WEIGHT ? NULL : l->source->tensors[tensor].vector;
}

static void lower_embed(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    slip_cuda_op *op = add_op(l, SLIP_CUDA_EMBED, i, i);
    op->table = l->source->tensors[from->weight[0]].table;
    op->table_f32 = l->source->tensors[from->weight[0]].table_f32;
    op->vector[0] = vector_of(l, from->weight[1]);
    op->mask_token = l->program->mask_token;
    op->vocabulary_first = l->program->vocabulary.first;
    op->vocabulary_count = l->program->vocabulary.count;
    op->out = (slip_cuda_partial){l->memory[SLIP_BUFFER_PARTIAL], 1, slip_padded_to(op->hidden, SLIP_TILE)};
    l->partial[SLIP_BUFFER_PARTIAL] = op->out;
    l->experts_in_partial = false;
}

/* `op` adds up what the op before left for an ALLREDUCE: if those are experts' picks, it weights this rank's. */
static void take_experts(const lowering *l, slip_cuda_op *op)
{
    op->experts_in = l->experts_in_partial;
    op->first_expert = op->experts_in ? op[-1].first_expert : 0; /* add_op() never moves ops */
    op->experts = op->experts_in ? op[-1].experts : 0;
}

/* The op that leaves this rank's sum of ALLREDUCE `i`. Returns all ranks', which the SUM behind it reads. */
static slip_cuda_partial lower_gather(lowering *l, int32_t i)
{
    slip_cuda_op *op = add_op(l, SLIP_CUDA_GATHER, i, i);
    op->in = l->partial[l->program->ops[i].in];
    take_experts(l, op);
    op->out = (slip_cuda_partial){l->own, 1, op->hidden};
    return (slip_cuda_partial){l->gathered, l->source->ranks, op->hidden};
}

/* ALLREDUCE, or a NORM of what a product left behind: absorbs the TAPs and the NORM that follow. Returns the last op absorbed. */
static int32_t lower_sum(lowering *l, int32_t i)
{
    const slip_op *ops = l->program->ops, *from = &ops[i];
    bool reduces = from->kind == SLIP_OP_ALLREDUCE, gathered = reduces && l->source->gathered;
    slip_cuda_partial in = gathered ? lower_gather(l, i) : l->partial[from->in];
    slip_cuda_op *op = add_op(l, SLIP_CUDA_SUM, i, i);
    op->in = in;
    op->gathered = gathered;
    op->add = from->add;
    op->x = reduces ? l->x : NULL;
    if (reduces && !gathered) {
        take_experts(l, op);
        op->exchange = l->source->ranks > 1 ? ++l->list->exchanges[l->phase] : 0;
        op->peers = op->layer >= 0 ? l->source->absent_peers : 0;
        op->peer_slots = l->peer_slots;
    }
    for (; reduces && i + 1 < l->end && ops[i + 1].kind == SLIP_OP_TAP; i++) {
        op->tap = ops[i + 1].column;
        op->taps = l->source->taps;
        op->tap_slots = l->source->tap_slots;
        op->tap_width = l->source->tap_width;
    }
    int32_t norm = reduces ? i + 1 : i;
    if (norm < l->end && ops[norm].kind == SLIP_OP_NORM && !ops[norm].head_rows) {
        op->vector[0] = vector_of(l, ops[norm].weight[0]);
        op->form = form_for(l, norm + 1, ops[norm].out, op->hidden, true);
        i = norm;
    }
    op->last = i;
    return i;
}

static void lower_product(lowering *l, slip_cuda_op *op, int32_t tensor, slip_buffer in, bool norm, float *memory)
{
    const slip_cuda_matrix *m = &l->source->tensors[tensor].matrix;
    op->matrix = *m;
    op->act = l->form[in];
    op->act.columns = m->columns;
    if (!norm)
        op->act.ssq = NULL;
    op->out = (slip_cuda_partial){memory, m->chunks, m->tiles * SLIP_TILE};
}

/* H and SELECT are always behind a norm when a product reads them. */
static void lower_linear(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    if (from->in == SLIP_BUFFER_TAPS) {
        slip_cuda_op *taps = add_op(l, SLIP_CUDA_TAPS, i, i);
        taps->taps = l->source->taps + l->program->tap_first;
        taps->tap_slots = l->source->tap_slots;
        taps->tap_width = l->source->tap_width;
        taps->form = form_for(l, i, SLIP_BUFFER_TAPS, l->program->width[SLIP_BUFFER_TAPS], false);
    }
    slip_cuda_op *op = add_op(l, SLIP_CUDA_LINEAR, i, i);
    bool norm = from->in == SLIP_BUFFER_H || from->in == SLIP_BUFFER_SELECT;
    lower_product(l, op, from->weight[0], from->in, norm, l->memory[from->out]);
    op->head_rows = from->head_rows;
    l->partial[from->out] = op->out;
    if (from->out == SLIP_BUFFER_PARTIAL)
        l->experts_in_partial = false;
}

static void lower_rope(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    slip_cuda_op *op = add_op(l, SLIP_CUDA_ROPE, i, i);
    op->in = l->partial[SLIP_BUFFER_QKV];
    op->cache = l->source->caches[from->layer];
    op->query = l->query;
    op->rope_table = l->rope_table[op->cache.shape.rope];
    op->rotary_dim = l->program->rope[op->cache.shape.rope].rotary_dim;
    op->vector[0] = vector_of(l, from->weight[0]);
    op->vector[1] = vector_of(l, from->weight[1]);
}

static void lower_attend(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    const slip_cuda_cache *cache = &l->source->caches[from->layer];
    int32_t width = cache->shape.q_heads * cache->shape.v_head_dim;
    slip_cuda_op *op = add_op(l, SLIP_CUDA_ATTEND, i, i);
    op->cache = *cache;
    op->query = l->query;
    op->vector[0] = vector_of(l, from->weight[0]);
    op->width = width;
    op->attend_out = l->attend_out;
    op->attend_sum = l->attend_sum;
    op->attend_count = l->attend_count;
    op->form = form_for(l, i + 1, SLIP_BUFFER_HEADS, width, false);
    if (op->form.q8 == NULL)
        return;
    /* A block of 128 columns may belong to several heads: its scale wants them all. */
    slip_cuda_act form = op->form;
    op->form.q8 = NULL;
    op->heads = l->heads;
    slip_cuda_op *forms = add_op(l, SLIP_CUDA_FORM, i, i);
    forms->in = (slip_cuda_partial){l->heads, 1, width};
    forms->form = form;
    forms->form.hi = forms->form.lo = NULL;
}

static void lower_swiglu(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    slip_cuda_op *op = add_op(l, SLIP_CUDA_SWIGLU, i, i);
    op->in = l->partial[from->in];
    op->width = from->column;
    op->form = form_for(l, i + 1, SLIP_BUFFER_ACT, from->column, false);
}

static void lower_route(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    slip_cuda_op *product = add_op(l, SLIP_CUDA_LINEAR, i, i);
    lower_product(l, product, from->weight[0], from->in, true, l->router);
    slip_cuda_op *op = add_op(l, SLIP_CUDA_TOPK, i, i);
    op->in = product->out;
    op->experts = l->program->experts;
    op->norm_top_k = l->program->norm_top_k;
    op->routed_scale = l->program->routed_scale;
    op->vector[0] = vector_of(l, from->weight[1]);
}

static void lower_experts(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    const slip_range experts = l->program->tensors[from->weight[0]].experts;
    const slip_cuda_matrix *m = &l->source->tensors[from->weight[0]].matrix;
    slip_cuda_op *up = add_op(l, SLIP_CUDA_UP, i, i);
    lower_product(l, up, from->weight[0], from->in, true, l->up);
    up->width = m->rows / 2;
    up->early = up[-1].kind == SLIP_CUDA_TOPK; /* add_op() never moves ops */
    up->first_expert = (int32_t)experts.first;
    up->experts = (int32_t)experts.count;
    slip_cuda_op *down = add_op(l, SLIP_CUDA_DOWN, i, i);
    lower_product(l, down, from->weight[1], SLIP_BUFFER_ACT, false, l->down);
    down->in = up->out;
    down->width = up->width;
    down->first_expert = up->first_expert;
    down->experts = up->experts;
    l->partial[SLIP_BUFFER_PARTIAL] = down->out;
    l->experts_in_partial = true;
}

static int32_t lower_select(lowering *l, int32_t i)
{
    const slip_op *norm = &l->program->ops[i + 1];
    assert(i + 1 < l->end && norm->kind == SLIP_OP_NORM && norm->head_rows);
    slip_cuda_op *op = add_op(l, SLIP_CUDA_SELECT, i, i + 1);
    op->head_rows = true;
    op->x = l->x;
    op->vector[0] = vector_of(l, norm->weight[0]);
    op->form = form_for(l, i + 2, SLIP_BUFFER_SELECT, op->hidden, true);
    return i + 1;
}

static void lower_sample(lowering *l)
{
    slip_cuda_op *op = add_op(l, SLIP_CUDA_SAMPLE, l->end - 1, l->end - 1);
    op->head_rows = true;
    op->in = l->partial[SLIP_BUFFER_LOGITS];
    op->vocabulary_first = l->program->vocabulary.first;
    op->vocabulary_count = l->program->vocabulary.count;
    op->candidates = l->candidates;
    op->logits = l->source->logits;
}

/* Returns the last op that was taken. */
static int32_t lower_op(lowering *l, int32_t i)
{
    switch (l->program->ops[i].kind) {
    case SLIP_OP_EMBED: lower_embed(l, i); break;
    case SLIP_OP_ALLREDUCE:
    case SLIP_OP_NORM: return lower_sum(l, i);
    case SLIP_OP_LINEAR: lower_linear(l, i); break;
    case SLIP_OP_ROPE_STORE: lower_rope(l, i); break;
    case SLIP_OP_ATTEND: lower_attend(l, i); break;
    case SLIP_OP_SWIGLU: lower_swiglu(l, i); break;
    case SLIP_OP_ROUTE: lower_route(l, i); break;
    case SLIP_OP_EXPERTS: lower_experts(l, i); break;
    case SLIP_OP_SELECT: return lower_select(l, i);
    case SLIP_OP_TAP:
    case SLIP_OP_KINDS: assert(!"a TAP follows an ALLREDUCE"); break;
    }
    return i;
}

/* Cosines and sines of the step's positions, once for all layers. */
static void lower_angles(lowering *l, int32_t first)
{
    for (int32_t r = 0; r < l->program->rope_count; r++) {
        slip_cuda_op *op = add_op(l, SLIP_CUDA_ANGLES, first, first);
        op->inverse_frequency = l->source->inverse_frequency[r];
        op->rotary_dim = l->program->rope[r].rotary_dim;
        op->rope_table = l->rope_table[r];
    }
}

static void lower_phase(lowering *l, slip_phase phase)
{
    int32_t first = l->program->phase_first[phase];
    l->end = first + l->program->phase_count[phase];
    l->phase = phase;
    l->list->phase_first[phase] = l->list->count;
    if (first < l->end)
        lower_angles(l, first);
    for (int32_t i = first; i < l->end; i++)
        i = lower_op(l, i);
    if (l->program->phase_count[phase] > 0 && l->program->ops[l->end - 1].out == SLIP_BUFFER_LOGITS)
        lower_sample(l);
    l->list->phase_count[phase] = l->list->count - l->list->phase_first[phase];
}

slip_status slip_cuda_lower(const slip_cuda_source *source, slip_cuda_block *block, slip_cuda_list *list)
{
    slip_status status = slip_lower_check(source);
    if (status != SLIP_OK)
        return status;
    *list = (slip_cuda_list){0};
    lowering l = {
        .source = source, .program = source->program, .block = block, .list = list,
        .room = 2 * source->program->op_count + SLIP_PHASES * (1 + SLIP_MAX_ROPES),
        .groups = (source->limits->rows + SLIP_TOKENS - 1) / SLIP_TOKENS,
        .head_groups = (source->limits->head_rows + SLIP_TOKENS - 1) / SLIP_TOKENS,
    };
    list->ops = calloc((size_t)l.room, sizeof *list->ops);
    if (!list->ops)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d ops", l.room);
    slip_lower_memory(&l);
    lower_phase(&l, SLIP_PHASE_INJECT);
    lower_phase(&l, SLIP_PHASE_RUN);
    return SLIP_OK;
}

const char *slip_cuda_op_name(int32_t kind)
{
    static const char *const names[SLIP_CUDA_OPS] = {
        [SLIP_CUDA_EMBED] = "EMBED", [SLIP_CUDA_SUM] = "SUM",       [SLIP_CUDA_SELECT] = "SELECT", [SLIP_CUDA_FORM] = "FORM",
        [SLIP_CUDA_TAPS] = "TAPS",   [SLIP_CUDA_LINEAR] = "LINEAR", [SLIP_CUDA_ROPE] = "ROPE",     [SLIP_CUDA_ATTEND] = "ATTEND",
        [SLIP_CUDA_SWIGLU] = "SWIGLU", [SLIP_CUDA_TOPK] = "TOPK",   [SLIP_CUDA_UP] = "UP",         [SLIP_CUDA_DOWN] = "DOWN",
        [SLIP_CUDA_SAMPLE] = "SAMPLE", [SLIP_CUDA_ANGLES] = "ANGLES", [SLIP_CUDA_GATHER] = "GATHER",
    };
    return kind >= 0 && kind < SLIP_CUDA_OPS ? names[kind] : "?";
}
