/* The memory of a lowered program's buffers: each device op allocates what it writes. */
#include "kernels/cuda/lower/lower_state.h"

enum { ALIGN = 256, PADDED_TO = 256 };

void *slip_block_alloc(slip_cuda_block *block, size_t bytes)
{
    size_t at = (block->used + ALIGN - 1) / ALIGN * ALIGN;
    block->used = at + bytes;
    return block->base ? block->base + at : (void *)(at + ALIGN); /* counting: an address that is only compared with NULL */
}

void slip_memory_operand(lowering *l, slip_buffer buffer, int32_t groups)
{
    int64_t columns = l->program->width[buffer];
    if (columns == 0)
        return;
    slip_cuda_operand *operand = &l->operand[buffer];
    operand->padded = slip_padded_to(columns, PADDED_TO);
    size_t cells = slip_operand_cells(operand->padded, groups);
    operand->columns = (int32_t)columns;
    operand->q8 = slip_block_alloc(l->block, cells);
    operand->scale = slip_block_alloc(l->block, cells / SLIP_F8_BLOCK * sizeof(float));
    operand->hi = slip_block_alloc(l->block, cells * sizeof(uint16_t));
    operand->lo = slip_block_alloc(l->block, cells * sizeof(uint16_t));
    operand->ssq = slip_block_alloc(l->block, cells / SLIP_F8_BLOCK * sizeof(float));
}

void slip_lower_memory(lowering *l)
{
#define TAKE(kind, arguments, function, watched, memory) slip_memory_##memory(l);
    SLIP_CUDA_OP_TABLE(TAKE, TAKE)
#undef TAKE
}
