/* The rows of a wide step that picked each expert, sorted by expert, as plain data for host and device code. A wide step's products read an
 * expert's weights once for all of its rows (wide/).
 *
 * A slot is a pick of one of this rank's experts. An expert's slots are whole groups of 8, as row groups are; those beyond its picks are
 * empty. An expert's groups are multiplied in blocks: weights are decoded once for a block, and the sums of more would not fit the registers.
 * Steps whose experts have few rows have a kernel of their own, whose registers hold no more.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_SLOTS_H
#define SLIP_KERNELS_CUDA_LAYOUT_SLOTS_H

#include "kernels/cuda/layout/buffer.h"
#include "kernels/cuda/layout/step.h"

/* Groups of a block at most: in a step whose experts have few rows, and in others. */
enum { SLIP_SLOT_BLOCK_OF_FEW = 3, SLIP_SLOT_BLOCK = 8 };

typedef struct {
    int32_t expert, group, groups; /* local id; its groups of slots [group, group + groups) */
    int32_t
        piece; /* of MOE_GATE_UP's row tiles, which comes first: another one block after block. The last piece is short: SMs take turns at it */
} slip_cuda_slot_block;

typedef struct {
    int32_t *pick;               /* [slots] slip_pick_of(), -1: empty */
    int32_t *count;              /* [0] groups in all, [1] blocks */
    slip_cuda_slot_block *block; /* [groups at most] */
    uint32_t *done;              /* [groups] where a block of few rows begins: warps whose part of its rows of `down` is there */
    float *factor;               /* [slots] of the norm in front */
    slip_cuda_operand up, down;  /* operands of the two products, a slot a row */
} slip_cuda_slots;

/* Have a layer's experts many rows in a step, in the mean? All ranks say the same, whichever picks they get. In a step whose sums are parts they have
 * not. Measured: docs/speed-cuda.md. */
SLIP_BOTH static inline bool slip_slots_are_many(int32_t rows, int32_t top_k, int32_t experts)
{
    return rows > SLIP_CUDA_WHOLE_ABOVE && rows * top_k > 24 * experts;
}

/* Can a warp choose top_k experts of a row (wide/topk.cuh)? */
enum { SLIP_WIDE_EXPERTS = 512, SLIP_WIDE_PICKS = 32 };
SLIP_BOTH static inline bool slip_topk_is_wide(int32_t experts, int32_t top_k)
{
    return experts <= SLIP_WIDE_EXPERTS && top_k <= SLIP_WIDE_PICKS;
}

/* Groups of slots that `picks` picks take at most: each of the experts that are picked has one group that is not full. */
static inline int32_t slip_slot_groups(int32_t picks, int32_t experts)
{
    int32_t partly = picks < experts ? picks : experts;
    return partly + (picks - partly) / SLIP_TOKENS;
}

#endif
