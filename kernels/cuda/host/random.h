/* Random weights, made on the GPU: at memory speed, at the scale of a trained model, and without a NaN. A value is a hash of
 * (seed, where it lies), so the same call gives the same bits on every GPU. Done when the call returns; SLIP_ERR_FAILED has
 * CUDA's words for what went wrong.
 */
#ifndef SLIP_KERNELS_CUDA_HOST_RANDOM_H
#define SLIP_KERNELS_CUDA_HOST_RANDOM_H

#ifdef __cplusplus
extern "C" {
#endif

#include "io/base/status.h"
#include "kernels/cuda/layout/matrix.h"

/* All of matrix->data, `experts` experts, in the packed layout. Root mean square `size`: uniform numbers in bf16, and a second
 * plane 2^-9 of that; e4m3 codes of magnitudes 0.125 to 1.875 with the scale that makes it; all codes of mxfp4, with two
 * neighbouring scales. Rows and columns that do not exist are filled too. */
slip_status slip_cuda_random(const slip_cuda_matrix *matrix, int64_t experts, uint64_t seed, float size);

/* f32 values [count], uniform in mean - spread .. mean + spread: norms, biases, sinks. */
slip_status slip_cuda_random_vector(float *device, int64_t count, uint64_t seed, float mean, float spread);

/* bf16 values [count] of root mean square `size`: the rows of an embedding. */
slip_status slip_cuda_random_rows(uint16_t *device, int64_t count, uint64_t seed, float size);

#ifdef __cplusplus
}
#endif

#endif
