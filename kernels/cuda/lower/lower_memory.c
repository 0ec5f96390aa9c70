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

void slip_memory_operand(lowering *l, slip_buffer buffer, int32_t groups)
{
    int64_t columns = l->program->width[buffer];
    if (columns == 0)
        return;
    slip_cuda_operand operand = slip_alloc_operand(l, columns, groups, true, true);
    operand.ssq = slip_block_alloc(l->block, slip_operand_cells(operand.padded, groups) / SLIP_F8_BLOCK * sizeof(float));
    l->operand[buffer] = operand;
}

void slip_lower_memory(lowering *l)
{
#define TAKE(kind, arguments, function, watched, memory) slip_memory_##memory(l);
    SLIP_CUDA_OP_TABLE(TAKE, TAKE)
#undef TAKE
}
