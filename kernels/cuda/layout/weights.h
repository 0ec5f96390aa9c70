/* The weights of a program as they lie on the device, and how they are packed for it. Plain C: a machine without a GPU can pack.
 *
 * A matrix is cut into weight tiles (pack.h). A vector lies as floats; an embedding as rows of bf16, or of floats where it is stored in
 * another type.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_WEIGHTS_H
#define SLIP_KERNELS_CUDA_LAYOUT_WEIGHTS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/cuda/layout/pack.h"
#include "ranks/model/program.h"

/* A tensor of the program on the device: one of the three. */
typedef struct {
    slip_cuda_matrix matrix; /* rows 0: not a matrix */
    const float *vector;
    const void *table; /* an embedding, or an in-block head's matrix: [rows][columns] bf16 or f32 */
    bool table_f32;
} slip_cuda_tensor;

typedef struct {
    const slip_program *program; /* borrowed */
    slip_cuda_tensor *tensors;   /* [tensor_count] */
    bool *is_table;              /* [tensor_count]: EMBED or a walk reads its rows */
    slip_cuda_use *use;          /* [tensor_count] */
} slip_cuda_weights;

/* What each tensor is for, from the ops that read it. Freed by the caller also after a failure. */
slip_status slip_cuda_weights_make(const slip_program *program, slip_cuda_weights *weights);
void slip_cuda_weights_free(slip_cuda_weights *weights);

/* It is cut into tiles; else it lies in rows. */
bool slip_cuda_weights_is_matrix(const slip_cuda_weights *weights, int32_t index);

/* Tensor `index` will come in this form: all of its layout but the memory. As slip_cuda_matrix_plan(). */
slip_status slip_cuda_weights_plan(slip_cuda_weights *weights, int32_t index, const slip_weight *form);

/* Bytes of so many rows of an expert of a planned tensor, packed together. */
size_t slip_cuda_weights_bytes(const slip_cuda_weights *weights, int32_t index, int64_t rows);

/* Expert `from` of a piece into its order, at `packed`. In any thread. */
void slip_cuda_weights_pack(const slip_cuda_weights *weights, int32_t index, const slip_weight *piece, int64_t from, unsigned char *packed);

/* Where packed rows [first, first + rows) of a matrix that is not stacked go: `send` gets each run of bytes of the tensor. `first` begins a tile. */
typedef slip_status slip_cuda_send(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed);
slip_status slip_cuda_weights_send_rows(const slip_cuda_weights *weights, int32_t index, int64_t first, int64_t rows,
                                        const unsigned char *packed, slip_cuda_send *send, void *context);

/* The order of all planned tensors' bytes in one word: two builds that give the same word pack the same weights to the same bytes. It is made
 * of the cut of every tensor, and of what comes out where samples of all types are packed. */
slip_status slip_cuda_weights_layout(const slip_cuda_weights *weights, uint64_t *layout);

#ifdef __cplusplus
}
#endif

#endif
