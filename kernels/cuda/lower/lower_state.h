/* Lowering in hand, shared by lower.c (ops), lower_memory.c (where their buffers are) and lower_check.c (what is refused). */
#ifndef SLIP_KERNELS_CUDA_LOWER_LOWER_STATE_H
#define SLIP_KERNELS_CUDA_LOWER_LOWER_STATE_H

#include "kernels/cuda/lower/lower.h"

typedef struct {
    const slip_cuda_source *source;
    const slip_program *program;
    slip_cuda_block *block;
    slip_cuda_list *list;
    int32_t room;
    int32_t groups, head_groups;
    slip_phase phase;                       /* in hand */
    int32_t end;                            /* of it, an op of the program */
    slip_cuda_act form[SLIP_BUFFERS];       /* memory of each buffer's forms */
    slip_cuda_partial partial[SLIP_BUFFERS]; /* what was last written there */
    bool experts_in_partial;
    float *memory[SLIP_BUFFERS];            /* partial sums of each buffer */
    size_t memory_floats[SLIP_BUFFERS];     /* largest so far, while counting */
    float *up, *down, *router, *x, *heads;
    float *own, *gathered;                  /* a sum of this rank's, and all ranks'; NULL where nothing is gathered */
    slip_cuda_picks picks;
    uint16_t *query;
    float *attend_out, *attend_sum;
    unsigned *attend_count;
    float *rope_table[SLIP_MAX_ROPES];
    slip_candidate *candidates;
    float *peer_slots;
} lowering;

static inline int32_t slip_padded_to(int64_t columns, int64_t unit)
{
    return (int32_t)((columns + unit - 1) / unit * unit);
}

/* SLIP_ERR_INPUT, naming the shape, for what does not fit the engine. */
slip_status slip_lower_check(const slip_cuda_source *source);

/* Take the memory of all buffers from the block. */
void slip_lower_memory(lowering *l);

#endif
