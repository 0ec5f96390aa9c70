/* Where the buffers of a lowered program are: forms, partial sums, picks, scratch. */
#include "kernels/cuda/layout/attend_size.h"
#include "kernels/cuda/lower/lower_state.h"

enum { ALIGN = 256, FORM_UNIT = 256 };

void *slip_cuda_take(slip_cuda_block *block, size_t bytes)
{
    size_t at = (block->used + ALIGN - 1) / ALIGN * ALIGN;
    block->used = at + bytes;
    return block->base ? block->base + at : (void *)(at + ALIGN); /* counting: an address that is only compared with NULL */
}

static void take_form(lowering *l, slip_buffer buffer, int64_t columns, int32_t groups)
{
    if (columns == 0)
        return;
    slip_cuda_act *form = &l->form[buffer];
    size_t cells = (size_t)groups * SLIP_TOKENS * (size_t)slip_padded_to(columns, FORM_UNIT);
    form->padded = slip_padded_to(columns, FORM_UNIT);
    form->columns = (int32_t)columns;
    form->q8 = slip_cuda_take(l->block, cells);
    form->scale = slip_cuda_take(l->block, cells / SLIP_F8_BLOCK * sizeof(float));
    form->hi = slip_cuda_take(l->block, cells * sizeof(uint16_t));
    form->lo = slip_cuda_take(l->block, cells * sizeof(uint16_t));
    form->ssq = slip_cuda_take(l->block, cells / SLIP_F8_BLOCK * sizeof(float));
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

/* One sum at a time is on its way. */
static void take_gathered(lowering *l, size_t rows)
{
    if (!l->source->gathered)
        return;
    size_t bytes = (size_t)slip_gathered_rows((int32_t)rows) * (size_t)l->program->width[SLIP_BUFFER_X] * sizeof(float);
    l->own = slip_cuda_take(l->block, bytes);
    l->gathered = slip_cuda_take(l->block, (size_t)l->source->ranks * bytes);
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

void slip_lower_memory(lowering *l)
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
    size_t embed = rows * (size_t)slip_padded_to(width[SLIP_BUFFER_X], SLIP_TILE);
    if (l->memory_floats[SLIP_BUFFER_PARTIAL] < embed)
        l->memory_floats[SLIP_BUFFER_PARTIAL] = embed;
    for (int b = 0; b < SLIP_BUFFERS; b++)
        if (l->memory_floats[b])
            l->memory[b] = slip_cuda_take(l->block, l->memory_floats[b] * sizeof(float));
    l->up = slip_cuda_take(l->block, up * sizeof(float));
    l->down = slip_cuda_take(l->block, down * sizeof(float));
    l->router = slip_cuda_take(l->block, router * sizeof(float));
    l->x = slip_cuda_take(l->block, rows * (size_t)width[SLIP_BUFFER_X] * sizeof(float));
    l->heads = slip_cuda_take(l->block, rows * (size_t)slip_padded_to(width[SLIP_BUFFER_HEADS], 4) * sizeof(float));
    l->picks.expert = slip_cuda_take(l->block, rows * (size_t)program->top_k * sizeof(int32_t));
    l->picks.weight = slip_cuda_take(l->block, rows * (size_t)program->top_k * sizeof(float));
    l->candidates = slip_cuda_take(l->block, (size_t)l->source->sms * (size_t)l->head_groups * SLIP_TOKENS * sizeof(slip_candidate));
    l->peer_slots = slip_cuda_take(l->block, (size_t)l->source->absent_peers * SLIP_MAX_ROWS * (size_t)width[SLIP_BUFFER_X] * sizeof(float));
    for (int32_t r = 0; r < program->rope_count; r++)
        l->rope_table[r] = slip_cuda_take(l->block, rows * (size_t)program->rope[r].rotary_dim * sizeof(float));
    take_gathered(l, rows);
    take_attention(l);
}
