/* The rows of a wide step that picked each expert, sorted by expert, as plain data for host and device code. A wide step's products read an
 * expert's weights once for all of its rows (wide/).
 *
 * A slot is a pick of one of this rank's experts. An expert's slots are whole groups of 8, as row groups are; those beyond its picks are
 * empty. An expert's groups are multiplied in blocks: weights are decoded once for a block, and the sums of more would not fit the registers.
 * Blocks of few groups have a kernel of their own, whose registers hold no more.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_SLOTS_H
#define SLIP_KERNELS_CUDA_LAYOUT_SLOTS_H

#include "kernels/cuda/layout/buffer.h"
#include "kernels/cuda/layout/step.h"

/* Groups of a block at most: of an expert with few rows, and of others. */
enum { SLIP_SLOT_BLOCK_OF_FEW = 2, SLIP_SLOT_BLOCK = 8 };

typedef struct {
    int32_t expert, group, groups; /* local id; its groups of slots [group, group + groups) */
    int32_t unused;
} slip_cuda_slot_block;

typedef struct {
    int32_t *pick;               /* [slots] slip_pick_of(), -1: empty */
    int32_t *count;              /* [0] groups in all, [1] blocks of experts with few rows, [2] of others */
    slip_cuda_slot_block *block; /* [blocks]: the first count[1] and the last count[2] are in use */
    float *factor;               /* [slots] of the norm in front */
    slip_cuda_operand up, down;  /* operands of the two products, a slot a row */
    int32_t blocks;
} slip_cuda_slots;

/* Is an expert with so many groups one with many rows? In a step whose sums are parts, none is. */
SLIP_BOTH static inline bool slip_slots_are_many(int32_t rows, int32_t groups)
{
    return rows > SLIP_CUDA_WHOLE_ABOVE && groups > SLIP_SLOT_BLOCK_OF_FEW;
}

/* Groups of slots that `picks` picks take at most: each of the experts that are picked has one group that is not full. */
static inline int32_t slip_slot_groups(int32_t picks, int32_t experts)
{
    int32_t partly = picks < experts ? picks : experts;
    return partly + (picks - partly) / SLIP_TOKENS;
}

#endif
