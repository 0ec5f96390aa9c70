/* How a weight matrix is cut for the GPU, and one expert brought into that order (matrix.h and the architecture's arch.h say which). Plain C;
 * nothing here allocates or knows of a device.
 *
 * The cut depends on the matrix alone: it decides which partial sums exist, and so a result's last bits. How units are dealt out
 * to the SMs does not.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_PACK_H
#define SLIP_KERNELS_CUDA_LAYOUT_PACK_H

#ifdef __cplusplus
extern "C" {
#endif

#include "io/base/status.h"
#include "kernels/cuda/layout/buffer.h"
#include "kernels/cuda/layout/matrix.h"

enum {
    SLIP_PLAN_WARPGROUPS = SLIP_ARCH_WARPGROUPS * SLIP_ARCH_SMS, /* that chunks are chosen for */
    SLIP_PLAN_EXPERTS = 60,                                      /* distinct experts of a step of 8 tokens, likewise */
    SLIP_PLAN_PICKS = 8,                                         /* experts of a step of one token, likewise */
    SLIP_GATE_UP_PARTS = 4,                                      /* most parts of gate | up: MOE_DOWN loads so many at once */
    SLIP_OPERAND_BYTES = 64 * 1024,                              /* of the arena, for the activations of a product */
};

/* What a matrix is for. Experts have gate | up and down. Down has one chunk: its results are kept by pick, not by part. */
typedef enum { SLIP_USE_LINEAR, SLIP_USE_GATE_UP, SLIP_USE_DOWN } slip_cuda_use;

/* Fill in `matrix`, but for `data`, which stays NULL. f32 is kept as two bf16 planes. A matrix without rows or columns has no units.
 *
 * `scale_skew` is that of slip_weight. SLIP_ERR_INPUT, naming the case: f8e4m3 whose scale blocks do not begin with a tile;
 * mxfp4 with part of a block of 32; a matrix whose activations cannot fit SLIP_OPERAND_BYTES; sizes beyond 64 bits (of experts
 * together) or 32 bits (a count of the struct). */
slip_status slip_cuda_matrix_plan(slip_dtype dtype, int64_t experts, int64_t rows, int64_t columns, int64_t scale_skew, slip_cuda_use use,
                                  slip_cuda_matrix *matrix);

/* On the device; the plan has checked that it fits. */
static inline int64_t slip_cuda_matrix_bytes(const slip_cuda_matrix *matrix, int64_t experts)
{
    return experts * matrix->expert_bytes;
}

/* Bytes of activation codes of one row group that the worst CTA of `sms` needs: the chunks that its range of units touches.
 * For a matrix that is not of experts at most SLIP_OPERAND_BYTES for every `sms` >= the matrix's chunks, and for SLIP_ARCH_SMS. */
int64_t slip_cuda_matrix_arena(const slip_cuda_matrix *matrix, int32_t sms);

/* The same of whole rows, as a CTA keeps them for a matrix of experts. At most SLIP_OPERAND_BYTES of a plan of experts. */
int64_t slip_cuda_matrix_row_bytes(const slip_cuda_matrix *matrix);

/* Tiles that the busiest of `workers` warpgroups (or CTAs) streams, of `experts` experts one behind the other. */
int64_t slip_cuda_matrix_busiest(const slip_cuda_matrix *matrix, int64_t experts, int32_t workers);

/* One expert of the weight that the plan was made for, to `out` [matrix->expert_bytes] in host memory. What does not exist is
 * written as zeros, E8M0 scales as 127. An f32 value becomes bf16(x) + bf16(x - bf16(x)), or bf16(x) alone where that is not
 * finite. */
void slip_cuda_matrix_pack(const slip_weight *weight, int64_t expert, const slip_cuda_matrix *matrix, unsigned char *out);

#ifdef __cplusplus
}
#endif

#endif
