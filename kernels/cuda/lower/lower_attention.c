/* Lowering of attention: the step's angles, ROPE_STORE and ATTEND. */
#include "kernels/cuda/layout/attend_size.h"
#include "kernels/cuda/lower/lower_state.h"

static size_t rows_of(const lowering *l)
{
    return (size_t)l->groups * SLIP_TOKENS;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- the angles ---- */

void slip_memory_angles(lowering *l)
{
    for (int32_t r = 0; r < l->program->rope_count; r++)
        l->angles[r] = slip_block_alloc(l->block, rows_of(l) * (size_t)l->program->rope[r].rotary_dim * sizeof(float));
}

void slip_lower_angles(lowering *l, int32_t first)
{
    for (int32_t r = 0; r < l->program->rope_count; r++)
        slip_lower_append(l, SLIP_CUDA_ANGLES, first, first)->angles =
            (slip_cuda_angles){l->source->inverse_frequency[r], l->angles[r], l->program->rope[r].rotary_dim};
}

/* ---- ROPE_STORE ---- */

void slip_memory_rope(lowering *l)
{
    size_t query = 0;
    for (int32_t i = 0; i < l->program->cache_count; i++) {
        const slip_cuda_cache *cache = &l->source->caches[i];
        query = larger(query, rows_of(l) * (size_t)cache->shape.q_heads * (size_t)cache->k_width * sizeof(uint16_t));
    }
    l->query = slip_block_alloc(l->block, query);
}

int32_t slip_lower_rope_store(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    const slip_cuda_cache *cache = &l->source->caches[from->layer];
    slip_lower_append(l, SLIP_CUDA_ROPE, i, i)->rope = (slip_cuda_rope){
        .in = l->partial[SLIP_BUFFER_QKV],
        .cache = *cache,
        .query = l->query,
        .angles = l->angles[cache->shape.rope],
        .rotary_dim = l->program->rope[cache->shape.rope].rotary_dim,
        .norm = {slip_lower_vector(l, from->weight[0]), slip_lower_vector(l, from->weight[1])},
    };
    return i;
}

/* ---- ATTEND ---- */

void slip_memory_attend(lowering *l)
{
    size_t out = 0, sum = 0, count = 0;
    for (int32_t i = 0; i < l->program->cache_count; i++) {
        const slip_cuda_cache *cache = &l->source->caches[i];
        int64_t items = slip_attend_items(l->source->limits, cache);
        out = larger(out, slip_attend_out_bytes(items, cache));
        sum = larger(sum, slip_attend_sum_bytes(items));
        count = larger(count, slip_attend_count_bytes(items));
    }
    slip_memory_operand(l, SLIP_BUFFER_HEADS, l->groups);
    l->attend_out = slip_block_alloc(l->block, out);
    l->attend_sum = slip_block_alloc(l->block, sum);
    l->attend_count = slip_block_alloc(l->block, count);
}

/* Taps are for the draft's inject phase. */
void slip_memory_quantise(lowering *l)
{
    if (l->program->phase_count[SLIP_PHASE_INJECT] > 0)
        slip_memory_operand(l, SLIP_BUFFER_TAPS, l->groups);
    l->attention_rows =
        slip_block_alloc(l->block, rows_of(l) * (size_t)slip_padded_to(l->program->width[SLIP_BUFFER_HEADS], 4) * sizeof(float));
}

/* Attention of a narrow window does the work of the ROPE before it as well, which stays where rows must be in the cache beforehand. */
static bool lower_window(lowering *l, int32_t i, const slip_cuda_attend *attend)
{
    slip_cuda_op *before = &l->list->ops[l->list->count - 1];
    const slip_cuda_rope rope = before->rope;
    if (before->kind != SLIP_CUDA_ROPE || !slip_attend_window_fits(&attend->cache, rope.rotary_dim, rope.norm[0] || rope.norm[1]))
        return false;
    if (!l->split)
        l->list->count--;
    slip_lower_append(l, SLIP_CUDA_ATTEND_WINDOW, i, i)->attend_window = (slip_cuda_attend_window){
        .in = rope.in,
        .cache = attend->cache,
        .query = attend->query,
        .angles = rope.angles,
        .rotary_dim = rope.rotary_dim,
        .sinks = attend->sinks,
        .operand = attend->operand,
        .rows = attend->rows,
        .width = attend->width,
    };
    return true;
}

/* It writes what ATTEND's memory is for. */
void slip_memory_attend_window(lowering *l)
{
    (void)l;
}

/* A block of 128 columns may belong to several heads, and its scale wants them all: e4m3 is made by an op of its own. */
int32_t slip_lower_attend(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    const slip_cuda_cache *cache = &l->source->caches[from->layer];
    int32_t width = cache->shape.q_heads * cache->shape.v_head_dim;
    slip_cuda_operand operand = slip_lower_operand(l, i + 1, SLIP_BUFFER_HEADS, width, false), blocks = operand;
    operand.q8 = NULL;
    blocks.hi = blocks.lo = NULL;
    slip_cuda_attend attend = {
        .cache = *cache,
        .query = l->query,
        .sinks = slip_lower_vector(l, from->weight[0]),
        .width = width,
        .operand = operand,
        .rows = blocks.q8 ? l->attention_rows : NULL,
        .part_out = l->attend_out,
        .part_sum = l->attend_sum,
        .count = l->attend_count,
    };
    if (!lower_window(l, i, &attend))
        slip_lower_append(l, SLIP_CUDA_ATTEND, i, i)->attend = attend;
    if (blocks.q8)
        slip_lower_append(l, SLIP_CUDA_QUANTISE, i, i)->quantise =
            (slip_cuda_quantise){.rows = l->attention_rows, .stride = width, .operand = blocks};
    return i;
}
