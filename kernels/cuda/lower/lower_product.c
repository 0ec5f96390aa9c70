/* Lowering of the products: LINEAR, ROUTE (product, then top-k) and EXPERTS (gate | up, then down). */
#include "kernels/cuda/lower/lower_state.h"

static const slip_cuda_matrix *matrix_of(const lowering *l, int32_t tensor)
{
    return &l->source->tensors[tensor].matrix;
}

/* The results of a product with `m`, to `data`. */
static slip_cuda_partial results_of(const slip_cuda_matrix *m, float *data)
{
    return (slip_cuda_partial){data, m->chunks, m->row_tiles * SLIP_TILE_ROWS, m->rows};
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* All parts of a step that leaves parts; of a larger one whole sums. */
static size_t partial_floats(const slip_cuda_matrix *m, int32_t groups)
{
    enum { FEW = SLIP_CUDA_WHOLE_ABOVE / SLIP_TOKENS };
    slip_cuda_partial parts = results_of(m, NULL), sums = parts;
    sums.parts = 1;
    return larger(slip_partial_floats(&parts, groups < FEW ? groups : FEW), slip_partial_floats(&sums, groups));
}

/* The same of picks, whose results behind MOE_DOWN are bf16. */
static size_t pick_bytes(const slip_cuda_matrix *m, int32_t rows, int32_t top_k, bool down)
{
    slip_cuda_partial parts = results_of(m, NULL), sums = parts;
    int32_t few = rows < SLIP_CUDA_WHOLE_ABOVE ? rows : SLIP_CUDA_WHOLE_ABOVE;
    sums.parts = 1;
    if (down)
        return (size_t)slip_pick_of(rows, top_k, 0) * (size_t)sums.stride * sizeof(uint16_t);
    return sizeof(float) * larger((size_t)slip_pick_at(&parts, slip_pick_of(few, top_k, 0), 0),
                                  (size_t)slip_pick_at(&sums, slip_pick_of(rows, top_k, 0), 0));
}

static void raise_to(size_t *largest, size_t size)
{
    *largest = larger(*largest, size);
}

/* The largest product that goes to each buffer decides its size. */
void slip_memory_linear(lowering *l)
{
    size_t floats[SLIP_BUFFERS] = {0}, counted = 0;
    for (int32_t i = 0; i < l->program->op_count; i++) {
        const slip_op *op = &l->program->ops[i];
        if (op->kind == SLIP_OP_LINEAR)
            raise_to(&floats[op->out], partial_floats(matrix_of(l, op->weight[0]), op->logit_rows ? l->logit_groups : l->groups));
        if (op->kind == SLIP_OP_ROUTE)
            raise_to(&counted, (size_t)l->groups * SLIP_TOKENS * (size_t)results_of(matrix_of(l, op->weight[0]), NULL).stride);
    }
    for (int b = 0; b < SLIP_BUFFERS; b++)
        if (floats[b])
            l->parts[b] = slip_block_alloc(l->block, floats[b] * sizeof(float));
    l->counted = slip_block_alloc(l->block, counted * sizeof(uint64_t));
}

/* Results of the experts' weight number `weight`, 0 or, behind MOE_DOWN, 1: a pick each. */
static void *alloc_picks(lowering *l, int weight)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < l->program->op_count; i++) {
        const slip_op *op = &l->program->ops[i];
        if (op->kind == SLIP_OP_EXPERTS)
            raise_to(&bytes, pick_bytes(matrix_of(l, op->weight[weight]), l->groups * SLIP_TOKENS, l->program->top_k, weight == 1));
    }
    return slip_block_alloc(l->block, bytes);
}

/* Slots' operand of the experts' weight number `weight`, in the formats that the program's experts want. */
static slip_cuda_operand alloc_slots(lowering *l, int weight, int32_t groups)
{
    int32_t columns = 0;
    bool codes = false, halves = false;
    for (int32_t i = 0; i < l->program->op_count; i++) {
        const slip_op *op = &l->program->ops[i];
        if (op->kind != SLIP_OP_EXPERTS)
            continue;
        const slip_cuda_matrix *m = matrix_of(l, op->weight[weight]);
        columns = m->columns > columns ? m->columns : columns;
        codes |= m->format != SLIP_WEIGHT_BF16;
        halves |= m->format == SLIP_WEIGHT_BF16;
    }
    return slip_alloc_operand(l, columns, groups, codes, halves);
}

/* The most experts that an op of this rank has. */
static int32_t most_experts(const lowering *l)
{
    int64_t most = 0;
    for (int32_t i = 0; i < l->program->op_count; i++) {
        const slip_op *op = &l->program->ops[i];
        int64_t experts = op->kind == SLIP_OP_EXPERTS ? l->program->tensors[op->weight[0]].experts.count : 0;
        most = experts > most ? experts : most;
    }
    return (int32_t)most;
}

void slip_memory_moe_gate_up(lowering *l)
{
    int32_t picks = slip_pick_of(l->groups * SLIP_TOKENS, l->program->top_k, 0), groups = slip_slot_groups(picks, most_experts(l));
    l->gate_up = alloc_picks(l, 0);
    l->slots = (slip_cuda_slots){
        .pick = slip_block_alloc(l->block, (size_t)groups * SLIP_TOKENS * sizeof(int32_t)),
        .count = slip_block_alloc(l->block, 2 * sizeof(int32_t)),
        .block = slip_block_alloc(l->block, (size_t)groups * sizeof(slip_cuda_slot_block)),
        .done = slip_block_alloc(l->block, (size_t)groups * sizeof(uint32_t)),
        .factor = slip_block_alloc(l->block, (size_t)groups * SLIP_TOKENS * sizeof(float)),
        .up = alloc_slots(l, 0, groups),
        .down = alloc_slots(l, 1, groups),
    };
}

void slip_memory_moe_down(lowering *l)
{
    l->down = alloc_picks(l, 1);
}

void slip_memory_topk(lowering *l)
{
    size_t picks = (size_t)slip_pick_of(l->groups * SLIP_TOKENS, l->program->top_k, 0);
    l->picks.expert = slip_block_alloc(l->block, picks * sizeof(int32_t));
    l->picks.weight = slip_block_alloc(l->block, picks * sizeof(float));
    l->picks.word = slip_block_alloc(l->block, picks * sizeof(uint64_t));
}

/* A product of buffer `in` with `tensor`, its parts to `parts`. `norm`: it is behind one. */
static slip_cuda_product product_of(const lowering *l, int32_t tensor, slip_buffer in, bool norm, float *parts)
{
    const slip_cuda_matrix *m = matrix_of(l, tensor);
    slip_cuda_product product = {
        .matrix = *m,
        .operand = l->operand[in],
        .out = results_of(m, parts),
        .epsilon = l->program->norm_epsilon,
    };
    product.operand.columns = m->columns;
    if (!norm)
        product.operand.ssq = NULL;
    return product;
}

static void lower_taps(lowering *l, int32_t i)
{
    slip_cuda_taps taps = l->source->taps;
    taps.data += l->program->tap_first;
    slip_lower_append(l, SLIP_CUDA_QUANTISE, i, i)->quantise = (slip_cuda_quantise){
        .taps = taps, .operand = slip_lower_operand(l, i, SLIP_BUFFER_TAPS, l->program->width[SLIP_BUFFER_TAPS], false)};
}

/* H and SELECT are always behind a norm when a product reads them. */
int32_t slip_lower_linear(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    if (from->in == SLIP_BUFFER_TAPS)
        lower_taps(l, i);
    slip_cuda_op *op = slip_lower_append(l, SLIP_CUDA_LINEAR, i, i);
    bool norm = from->in == SLIP_BUFFER_H || from->in == SLIP_BUFFER_SELECT;
    op->logit_rows = from->logit_rows;
    op->product = product_of(l, from->weight[0], from->in, norm, l->parts[from->out]);
    l->partial[from->out] = op->product.out;
    if (from->out == SLIP_BUFFER_PARTIAL)
        l->experts_in_partial = false;
    return i;
}

/* From the product to the experts' products no SM waits for all others: logits count their parts, and picks say of which turn they are. */
int32_t slip_lower_route(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    slip_cuda_op *linear = slip_lower_append(l, SLIP_CUDA_LINEAR, i, i), *topk = slip_lower_append(l, SLIP_CUDA_TOPK, i, i);
    linear->product = product_of(l, from->weight[0], from->in, true, NULL);
    linear->product.counted = l->counted;
    linear->product.owned = l->owned;
    linear->flows = topk->flows = true;
    topk->topk = (slip_cuda_topk){
        .counted = l->counted,
        .stride = linear->product.out.stride,
        .parts = linear->product.out.parts,
        .picks = l->picks,
        .bias = slip_lower_vector(l, from->weight[1]),
        .experts = l->program->experts,
        .top_k = l->program->top_k,
        .norm_top_k = l->program->norm_top_k,
        .routed_scale = l->program->routed_scale,
        .route = ++l->routes,
        .owned = l->owned,
        .exchange = l->list->exchanges[l->phase],
        .peers = l->source->absent_peers,
        .stand_in = l->stand_in,
    };
    return i;
}

static void set_experts(const lowering *l, slip_range experts, int32_t width, slip_cuda_product *product)
{
    product->picks = l->picks;
    product->slots = l->slots;
    product->route = l->routes;
    product->top_k = l->program->top_k;
    product->first_expert = (int32_t)experts.first;
    product->experts = (int32_t)experts.count;
    product->all_experts = l->program->experts;
    product->width = width;
}

int32_t slip_lower_experts(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    const slip_range experts = l->program->tensors[from->weight[0]].experts;
    int32_t width = matrix_of(l, from->weight[0])->rows / 2;
    slip_cuda_op *up = slip_lower_append(l, SLIP_CUDA_MOE_GATE_UP, i, i);
    up->early = up[-1].kind == SLIP_CUDA_TOPK;
    up->product = product_of(l, from->weight[0], from->in, true, l->gate_up);
    up->product.by_row = l->by_row;
    set_experts(l, experts, width, &up->product);
    slip_cuda_op *down = slip_lower_append(l, SLIP_CUDA_MOE_DOWN, i, i);
    down->product = product_of(l, from->weight[1], SLIP_BUFFER_ACT, false, l->down);
    set_experts(l, experts, width, &down->product);
    down->product.in = up->product.out;
    l->partial[SLIP_BUFFER_PARTIAL] = down->product.out;
    l->experts_in_partial = true;
    return i;
}
