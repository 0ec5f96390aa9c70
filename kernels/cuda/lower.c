#include "kernels/cuda/lower.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/attend_size.h"
#include "kernels/cuda/pack.h"

enum { ALIGN = 256, FORM_UNIT = 256 };

/* The work in hand. */
typedef struct {
    const slip_cuda_source *source;
    const slip_program *program;
    slip_cuda_block *block;
    slip_cuda_list *list;
    int32_t room;
    int32_t groups, head_groups;
    int32_t end;                            /* of the phase in hand, an op of the program */
    slip_cuda_act form[SLIP_BUFFERS];       /* memory of each buffer's forms */
    slip_cuda_partial partial[SLIP_BUFFERS]; /* what was last written there */
    bool experts_in_partial;
    float *memory[SLIP_BUFFERS];            /* partial sums of each buffer */
    size_t memory_floats[SLIP_BUFFERS];     /* largest so far, while counting */
    float *up, *down, *router, *x, *heads;
    slip_cuda_picks picks;
    uint16_t *query;
    float *attend_out, *attend_sum;
    unsigned *attend_count;
    float *rope_table[SLIP_MAX_ROPES];
    slip_candidate *candidates;
    float *peer_slots;
} lowering;

void *slip_cuda_take(slip_cuda_block *block, size_t bytes)
{
    size_t at = (block->used + ALIGN - 1) / ALIGN * ALIGN;
    block->used = at + bytes;
    return block->base ? block->base + at : (void *)(at + ALIGN); /* counting: an address that is only compared with NULL */
}

static int32_t padded(int64_t columns, int64_t unit)
{
    return (int32_t)((columns + unit - 1) / unit * unit);
}

int32_t slip_cuda_slots(int32_t window, const slip_limits *limits)
{
    int64_t ring = (int64_t)window + limits->span_rows;
    return (int32_t)(window && ring < limits->context ? ring : limits->context);
}

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

static bool writes(const slip_op *op, slip_buffer buffer)
{
    return op->out == buffer;
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
        if (writes(op, buffer))
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

/* ---- memory ---- */

static void take_form(lowering *l, slip_buffer buffer, int64_t columns, int32_t groups)
{
    if (columns == 0)
        return;
    slip_cuda_act *form = &l->form[buffer];
    size_t cells = (size_t)groups * SLIP_TOKENS * (size_t)padded(columns, FORM_UNIT);
    form->padded = padded(columns, FORM_UNIT);
    form->columns = (int32_t)columns;
    form->q8 = slip_cuda_take(l->block, cells);
    form->scale = slip_cuda_take(l->block, cells / SLIP_FORM_BLOCK * sizeof(float));
    form->hi = slip_cuda_take(l->block, cells * sizeof(uint16_t));
    form->lo = slip_cuda_take(l->block, cells * sizeof(uint16_t));
    form->ssq = slip_cuda_take(l->block, cells / SLIP_FORM_BLOCK * sizeof(float));
}

static int64_t partial_floats(const slip_cuda_matrix *m, int64_t groups)
{
    return groups * m->chunks * SLIP_TOKENS * m->tiles * SLIP_TILE;
}

/* The largest product that goes to each buffer decides its size. */
static void size_partials(lowering *l, size_t *up, size_t *down, size_t *router)
{
    int64_t picks = (int64_t)l->groups * SLIP_TOKENS * l->program->top_k;
    *up = *down = *router = 0;
    for (int32_t i = 0; i < l->program->op_count; i++) {
        const slip_op *op = &l->program->ops[i];
        const slip_cuda_matrix *m = op->weight[0] == SLIP_NO_WEIGHT ? NULL : &l->source->tensors[op->weight[0]].matrix;
        size_t *largest = op->kind == SLIP_OP_LINEAR ? &l->memory_floats[op->out] : op->kind == SLIP_OP_ROUTE ? router : NULL;
        if (largest) {
            size_t floats = (size_t)partial_floats(m, op->head_rows ? l->head_groups : l->groups);
            *largest = floats > *largest ? floats : *largest;
        }
        if (op->kind == SLIP_OP_EXPERTS) {
            const slip_cuda_matrix *d = &l->source->tensors[op->weight[1]].matrix;
            size_t u = (size_t)(picks * m->chunks * m->tiles * SLIP_TILE), v = (size_t)(picks * d->chunks * d->tiles * SLIP_TILE);
            *up = u > *up ? u : *up;
            *down = v > *down ? v : *down;
        }
    }
}

static void take_attention(lowering *l)
{
    size_t query = 0, out = 0, sum = 0, count = 0;
    for (int32_t i = 0; i < l->program->cache_count; i++) {
        const slip_cuda_cache *cache = &l->source->caches[i];
        int64_t items = slip_attend_items(l->source->limits, cache);
        size_t q = (size_t)l->groups * SLIP_TOKENS * (size_t)cache->shape.q_heads * (size_t)cache->k_width * sizeof(uint16_t);
        query = q > query ? q : query;
        out = slip_attend_out_bytes(items, cache) > out ? slip_attend_out_bytes(items, cache) : out;
        sum = slip_attend_sum_bytes(items) > sum ? slip_attend_sum_bytes(items) : sum;
        count = slip_attend_count_bytes(items) > count ? slip_attend_count_bytes(items) : count;
    }
    l->query = slip_cuda_take(l->block, query);
    l->attend_out = slip_cuda_take(l->block, out);
    l->attend_sum = slip_cuda_take(l->block, sum);
    l->attend_count = slip_cuda_take(l->block, count);
}

static void take_memory(lowering *l)
{
    const slip_program *program = l->program;
    const int64_t *width = program->width;
    size_t rows = (size_t)l->groups * SLIP_TOKENS, up, down, router;
    take_form(l, SLIP_BUFFER_H, width[SLIP_BUFFER_H], l->groups);
    take_form(l, SLIP_BUFFER_HEADS, width[SLIP_BUFFER_HEADS], l->groups);
    take_form(l, SLIP_BUFFER_ACT, width[SLIP_BUFFER_ACT], l->groups);
    take_form(l, SLIP_BUFFER_SELECT, width[SLIP_BUFFER_SELECT], l->head_groups);
    if (program->phase_count[SLIP_PHASE_INJECT] > 0)
        take_form(l, SLIP_BUFFER_TAPS, width[SLIP_BUFFER_TAPS], l->groups);
    size_partials(l, &up, &down, &router);
    size_t embed = rows * (size_t)padded(width[SLIP_BUFFER_X], SLIP_TILE);
    if (l->memory_floats[SLIP_BUFFER_PARTIAL] < embed)
        l->memory_floats[SLIP_BUFFER_PARTIAL] = embed;
    for (int b = 0; b < SLIP_BUFFERS; b++)
        if (l->memory_floats[b])
            l->memory[b] = slip_cuda_take(l->block, l->memory_floats[b] * sizeof(float));
    l->up = slip_cuda_take(l->block, up * sizeof(float));
    l->down = slip_cuda_take(l->block, down * sizeof(float));
    l->router = slip_cuda_take(l->block, router * sizeof(float));
    l->x = slip_cuda_take(l->block, rows * (size_t)width[SLIP_BUFFER_X] * sizeof(float));
    l->heads = slip_cuda_take(l->block, rows * (size_t)padded(width[SLIP_BUFFER_HEADS], 4) * sizeof(float));
    l->picks.expert = slip_cuda_take(l->block, rows * (size_t)program->top_k * sizeof(int32_t));
    l->picks.weight = slip_cuda_take(l->block, rows * (size_t)program->top_k * sizeof(float));
    l->candidates = slip_cuda_take(l->block, (size_t)l->source->sms * (size_t)l->head_groups * SLIP_TOKENS * sizeof(slip_candidate));
    l->peer_slots = slip_cuda_take(l->block, (size_t)l->source->absent_peers * SLIP_MAX_ROWS * (size_t)width[SLIP_BUFFER_X] * sizeof(float));
    for (int32_t r = 0; r < program->rope_count; r++)
        l->rope_table[r] = slip_cuda_take(l->block, rows * (size_t)program->rope[r].rotary_dim * sizeof(float));
    take_attention(l);
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
    op->out = (slip_cuda_partial){l->memory[SLIP_BUFFER_PARTIAL], 1, padded(op->hidden, SLIP_TILE)};
    l->partial[SLIP_BUFFER_PARTIAL] = op->out;
    l->experts_in_partial = false;
}

/* ALLREDUCE, or a NORM of what a product left behind: absorbs the TAPs and the NORM that follow. Returns the last op absorbed. */
static int32_t lower_sum(lowering *l, int32_t i)
{
    const slip_op *ops = l->program->ops, *from = &ops[i];
    slip_cuda_op *op = add_op(l, SLIP_CUDA_SUM, i, i);
    bool reduces = from->kind == SLIP_OP_ALLREDUCE;
    op->in = l->partial[from->in];
    op->experts_in = reduces && l->experts_in_partial;
    op->add = from->add;
    op->x = reduces ? l->x : NULL;
    op->peers = reduces && op->layer >= 0 ? l->source->absent_peers : 0;
    op->peer_slots = l->peer_slots;
    const slip_range experts = op->experts_in ? (slip_range){op[-1].first_expert, op[-1].experts} : (slip_range){0, 0};
    op->first_expert = (int32_t)experts.first;
    op->experts = (int32_t)experts.count;
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
        taps->taps = l->source->taps;
        taps->tap_slots = l->source->tap_slots;
        taps->tap_width = l->source->tap_width;
        taps->form = form_for(l, i, SLIP_BUFFER_TAPS, l->source->tap_width, false);
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
    l->list->phase_first[phase] = l->list->count;
    if (first < l->end)
        lower_angles(l, first);
    for (int32_t i = first; i < l->end; i++)
        i = lower_op(l, i);
    if (l->program->phase_count[phase] > 0 && l->program->ops[l->end - 1].out == SLIP_BUFFER_LOGITS)
        lower_sample(l);
    l->list->phase_count[phase] = l->list->count - l->list->phase_first[phase];
}

/* ---- what the engine does not take ---- */

static slip_status check_experts(const slip_cuda_source *source, const slip_op *op)
{
    const slip_cuda_matrix *up = &source->tensors[op->weight[0]].matrix, *down = &source->tensors[op->weight[1]].matrix;
    int64_t scales = SLIP_CUDA_ARENA - SLIP_OPERAND_BYTES;
    if (up->rows % 8 != 0) /* gate | up */
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: %d intermediate columns of an expert are not a multiple of 4", up->rows / 2);
    if (slip_cuda_matrix_row_bytes(up) + up->columns / SLIP_FORM_BLOCK * SLIP_TOKENS * 4 > SLIP_OPERAND_BYTES + scales ||
        slip_cuda_matrix_row_bytes(down) + down->columns / SLIP_FORM_BLOCK * SLIP_TOKENS * 4 > SLIP_OPERAND_BYTES + scales)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: experts of %d x %d columns in this encoding do not fit the shared memory of an SM",
                         up->columns, down->columns);
    return SLIP_OK;
}

static slip_status check(const slip_cuda_source *source)
{
    const slip_program *program = source->program;
    if (program->width[SLIP_BUFFER_X] % 4 != 0)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: hidden size %lld is not a multiple of 4", (long long)program->width[SLIP_BUFFER_X]);
    if (source->tap_width % 4 != 0)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: taps of %d columns are not a multiple of 4", source->tap_width);
    for (int32_t i = 0; i < program->cache_count; i++)
        if (!slip_attend_fits(&source->caches[i]))
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: heads of %d and %d dimensions in layer %d are not supported",
                             source->caches[i].shape.head_dim, source->caches[i].shape.v_head_dim, i);
    for (int32_t i = 0; i < program->tensor_count; i++) { /* units are dealt out to SMs in 32 bits */
        const slip_cuda_matrix *m = &source->tensors[i].matrix;
        int64_t experts = program->tensors[i].experts.first < 0 ? 1 : SLIP_LIST_MAX;
        if (experts * m->units > UINT32_MAX / (source->sms + 1))
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: a matrix of %d x %d is too large", m->rows, m->columns);
    }
    for (int32_t i = 0; i < program->op_count; i++) {
        const slip_op *op = &program->ops[i];
        if (op->kind == SLIP_OP_SWIGLU && op->column % 4 != 0)
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: %d intermediate columns are not a multiple of 4", op->column);
        if (op->kind != SLIP_OP_EXPERTS)
            continue;
        slip_status status = check_experts(source, op);
        if (status != SLIP_OK)
            return status;
    }
    return SLIP_OK;
}

slip_status slip_cuda_lower(const slip_cuda_source *source, slip_cuda_block *block, slip_cuda_list *list)
{
    slip_status status = check(source);
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
    size_t before = block->used;
    take_memory(&l);
    lower_phase(&l, SLIP_PHASE_INJECT);
    lower_phase(&l, SLIP_PHASE_RUN);
    list->scratch = block->used - before;
    return SLIP_OK;
}

/* ---- steps ---- */

static void fill_run(const slip_span *span, int32_t first, int32_t last, slip_cuda_step *out)
{
    out->run[out->runs++] = (slip_cuda_run){
        .row = span->row + first, .count = last - first, .sequence = span->sequence, .position = span->position + first};
}

static void fill_span(const slip_program *program, const slip_step *step, const slip_span *span, slip_cuda_step *out)
{
    bool whole = program->cache_count > 0 && program->cache[0].whole_block;
    int32_t run = 0; /* row of the span where the run in hand began */
    for (int32_t i = 0; i < span->count; i++) {
        int64_t position = span->position + i;
        out->row[span->row + i] = (slip_cuda_row){.token = step->token[span->row + i], .sequence = span->sequence, .position = position,
                                                  .last = whole ? span->position + span->count - 1 : position};
        if (i > run && (span->row + i) % SLIP_TOKENS == 0) {
            fill_run(span, run, i, out);
            run = i;
        }
        if (i >= span->count - span->heads)
            out->head[out->heads++] = (slip_cuda_head){
                .row = span->row + i, .position = position + 1, .seed = span->seed, .temperature = span->temperature};
    }
    if (span->count > run)
        fill_run(span, run, span->count, out);
}

void slip_cuda_step_fill(const slip_program *program, const slip_step *step, int32_t first_op, int32_t op_count, slip_cuda_step *out)
{
    out->number = step->number;
    out->first_op = first_op;
    out->op_count = op_count;
    out->rows = step->row_count;
    out->heads = out->runs = 0;
    out->want_logits = step->want == SLIP_WANT_LOGITS;
    out->stop = 0;
    for (int32_t s = 0; s < step->span_count; s++)
        fill_span(program, step, &step->span[s], out);
}

const char *slip_cuda_op_name(int32_t kind)
{
    static const char *const names[SLIP_CUDA_OPS] = {
        [SLIP_CUDA_EMBED] = "EMBED", [SLIP_CUDA_SUM] = "SUM",       [SLIP_CUDA_SELECT] = "SELECT", [SLIP_CUDA_FORM] = "FORM",
        [SLIP_CUDA_TAPS] = "TAPS",   [SLIP_CUDA_LINEAR] = "LINEAR", [SLIP_CUDA_ROPE] = "ROPE",     [SLIP_CUDA_ATTEND] = "ATTEND",
        [SLIP_CUDA_SWIGLU] = "SWIGLU", [SLIP_CUDA_TOPK] = "TOPK",   [SLIP_CUDA_UP] = "UP",         [SLIP_CUDA_DOWN] = "DOWN",
        [SLIP_CUDA_SAMPLE] = "SAMPLE", [SLIP_CUDA_ANGLES] = "ANGLES",
    };
    return kind >= 0 && kind < SLIP_CUDA_OPS ? names[kind] : "?";
}
