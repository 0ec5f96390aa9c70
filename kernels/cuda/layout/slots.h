/* The rows of a wide step that picked each expert, sorted by expert, as plain data for host and device code. A wide step's products read an
 * expert's weights once for all of its rows (wide/).
 *
 * A slot is a pick of one of this rank's experts. An expert's slots are whole groups of 8, as row groups are; those beyond its picks are
 * empty. An expert's groups are multiplied in blocks of at most slip_slot_block_of(): weights are decoded once for a block, and the sums of
 * more would not fit the registers.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_SLOTS_H
#define SLIP_KERNELS_CUDA_LAYOUT_SLOTS_H

#include "kernels/cuda/layout/buffer.h"
#include "kernels/cuda/layout/step.h"

/* Groups of a block at most: 4, 6 or 8; more leave less room for weights on their way. In a step whose sums are parts an expert has few rows. */
enum { SLIP_SLOT_BLOCK = 8, SLIP_SLOT_BLOCK_OF_FEW = 4 };

typedef struct {
    int32_t expert, group, groups; /* local id; its groups of slots [group, group + groups) */
    int32_t unused;
} slip_cuda_slot_block;

typedef struct {
    int32_t *pick;               /* [slots] slip_pick_of(), -1: empty */
    int32_t *count;              /* [0] groups in all, [1] blocks */
    slip_cuda_slot_block *block; /* [blocks] */
    float *factor;               /* [slots] of the norm in front */
    slip_cuda_operand up, down;  /* operands of the two products, a slot a row */
} slip_cuda_slots;

SLIP_BOTH static inline int32_t slip_slot_block_of(int32_t rows)
{
    return rows > SLIP_CUDA_WHOLE_ABOVE ? SLIP_SLOT_BLOCK : SLIP_SLOT_BLOCK_OF_FEW;
}

/* Groups of slots that `picks` picks take at most: each of the experts that are picked has one group that is not full. */
static inline int32_t slip_slot_groups(int32_t picks, int32_t experts)
{
    int32_t partly = picks < experts ? picks : experts;
    return partly + (picks - partly) / SLIP_TOKENS;
}

#endif
