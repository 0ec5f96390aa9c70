/* The state of lowering, shared by the files of this folder: lower.c walks the program; the other lower_*.c have a function an op of the
 * program, which appends device ops, and beside it one a device op, which allocates the memory that it writes. */
#ifndef SLIP_KERNELS_CUDA_LOWER_LOWER_STATE_H
#define SLIP_KERNELS_CUDA_LOWER_LOWER_STATE_H

#include "kernels/cuda/lower/lower.h"

typedef struct {
    const slip_cuda_source *source;
    const slip_program *program;
    slip_cuda_block *block;
    slip_cuda_list *list;
    int32_t room;
    int32_t groups, logit_groups;            /* row groups of the largest step */
    slip_phase phase;                        /* the current one */
    int32_t end;                             /* of it, an op of the program */
    bool split;                              /* for steps with split runs (slip_cuda_step) */
    slip_cuda_operand operand[SLIP_BUFFERS]; /* memory of each buffer's operands, in all formats */
    slip_cuda_partial partial[SLIP_BUFFERS]; /* what was last written there */
    bool experts_in_partial;
    float *parts[SLIP_BUFFERS]; /* partial sums of each buffer */
    float *embedding, *gate_up, *down, *x, *attention_rows;
    float *own, *gathered; /* a sum of this rank's, and all ranks'; NULL where nothing is gathered */
    slip_cuda_picks picks;
    slip_cuda_slots slots;
    uint64_t *counted;     /* the router's logits */
    int32_t routes;        /* of the phase so far */
    slip_cuda_owned owned; /* rows whose operand behind the last sum is here in all formats */
    bool by_row;           /* its codes are (slip_operand_row_at()) */
    uint16_t *query;
    float *attend_out, *attend_sum;
    unsigned *attend_count;
    float *angles[SLIP_MAX_ROPES];
    slip_cuda_sample sample;     /* its memory */
    slip_cuda_resample resample; /* the same */
    float *peer_slots;           /* of absent peers */
    unsigned char *stand_in;
} lowering;

static inline int32_t slip_padded_to(int64_t columns, int64_t unit)
{
    return (int32_t)((columns + unit - 1) / unit * unit);
}

/* SLIP_ERR_INPUT, naming the shape, for what does not fit the engine. */
slip_status slip_lower_check(const slip_cuda_source *source);

/* ---- memory: lower_memory.c, and a function a device op ---- */

/* Allocate the memory of all buffers. */
void slip_lower_memory(lowering *l);

/* An operand of `columns` columns: e4m3 codes and their scales, and bf16 halves, as wanted. No sums of squares. */
slip_cuda_operand slip_alloc_operand(lowering *l, int64_t columns, int32_t groups, bool codes, bool halves);

/* All formats of `buffer`'s operands. */
void slip_memory_operand(lowering *l, slip_buffer buffer, int32_t groups);

#define SLIP_MEMORY_FUNCTION(kind, arguments, function, watched, memory) void slip_memory_##memory(lowering *l);
SLIP_CUDA_OP_TABLE(SLIP_MEMORY_FUNCTION, SLIP_MEMORY_FUNCTION)
#undef SLIP_MEMORY_FUNCTION

/* ---- ops: a function an op of the program ---- */

/* Append device ops for op `i` of the program and those behind it that they absorb; returns the last of these. */
#define SLIP_LOWER_FUNCTION(kind, name) int32_t slip_lower_##name(lowering *l, int32_t i);
SLIP_OP_TABLE(SLIP_LOWER_FUNCTION)
#undef SLIP_LOWER_FUNCTION

/* At the beginning of a phase: cosines and sines of the step's positions, once for all layers. `first`: its first op. */
void slip_lower_angles(lowering *l, int32_t first);

/* At the end of a phase whose last op leaves logits. */
void slip_lower_sample(lowering *l);

/* Behind all phases, the last of which left logits: ops of steps that are sampled again. */
void slip_lower_again(lowering *l);

/* A device op for ops [first, last] of the program. Appending never moves the ops before. */
slip_cuda_op *slip_lower_append(lowering *l, slip_cuda_op_kind kind, int32_t first, int32_t last);

/* The operand memory of `buffer`, narrowed to the formats that are wanted behind op `from`. */
slip_cuda_operand slip_lower_operand(const lowering *l, int32_t from, slip_buffer buffer, int64_t columns, bool norm);

/* The vector of a tensor; NULL for SLIP_NO_WEIGHT. */
const float *slip_lower_vector(const lowering *l, int32_t tensor);

#endif
