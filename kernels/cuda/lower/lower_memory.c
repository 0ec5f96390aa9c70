/* The memory of a lowered program's buffers: each device op allocates what it writes. */
#include "kernels/cuda/lower/lower_state.h"

enum { ALIGN = 256 };

void *slip_block_alloc(slip_cuda_block *block, size_t bytes)
{
    size_t at = (block->used + ALIGN - 1) / ALIGN * ALIGN;
    block->used = at + bytes;
    return block->base ? block->base + at : (void *)(at + ALIGN); /* counting: an address that is only compared with NULL */
}

slip_cuda_operand slip_alloc_operand(lowering *l, int64_t columns, int32_t groups, bool codes, bool halves)
{
    slip_cuda_operand operand = {.columns = (int32_t)columns, .padded = slip_padded_to(columns, SLIP_OPERAND_PADDED_TO)};
    size_t cells = slip_operand_cells(operand.padded, groups);
    if (codes) {
        operand.q8 = slip_block_alloc(l->block, cells);
        operand.scale = slip_block_alloc(l->block, cells / SLIP_F8_BLOCK * sizeof(float));
    }
    if (halves) {
        operand.hi = slip_block_alloc(l->block, cells * sizeof(uint16_t));
        operand.lo = slip_block_alloc(l->block, cells * sizeof(uint16_t));
    }
    return operand;
}

/* Are some of the program's products of e4m3 operands? Their rounding is sixteen times that of bf16. */
static bool has_codes(const lowering *l)
{
    for (int32_t i = 0; i < l->program->tensor_count; i++)
        if (!l->program->tensors[i].vector && l->source->tensors[i].matrix.format != SLIP_WEIGHT_BF16)
            return true;
    return false;
}

/* Is one bf16 enough where `buffer` meets weights of bf16? Of what attention gives, beside products of e4m3: published models are served so. Of all that
 * a draft reads: no text depends on a draft's last bits. What is behind a target's norm decides between experts, and between tokens. */
static bool is_single(const lowering *l, slip_buffer buffer)
{
    const bool draft = l->program->logits_ahead == 0;
    return draft || (buffer == SLIP_BUFFER_HEADS && has_codes(l));
}

void slip_memory_operand(lowering *l, slip_buffer buffer, int32_t groups)
{
    int64_t columns = l->program->width[buffer];
    if (columns == 0)
        return;
    slip_cuda_operand operand = slip_alloc_operand(l, columns, groups, true, true);
    operand.ssq = slip_block_alloc(l->block, slip_operand_cells(operand.padded, groups) / SLIP_F8_BLOCK * sizeof(float));
    operand.single = is_single(l, buffer);
    l->operand[buffer] = operand;
}

void slip_lower_memory(lowering *l)
{
#define TAKE(kind, arguments, function, watched, memory) slip_memory_##memory(l);
    SLIP_CUDA_OP_TABLE(TAKE, TAKE)
#undef TAKE
}
