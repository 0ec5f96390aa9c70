/* Rounding as the GPU rounds, so that its ops can be compared closely with ours: with the option round_activations operands
 * are rounded here before they meet a weight.
 *
 *   mxfp4, f8e4m3   activations become e4m3 with one scale a token and 128 columns: e4m3(x / scale) * scale, scale = amax / 448
 *   bf16, f32       activations become two bf16: hi = bf16(x), lo = bf16(x - hi); their sum is what counts
 *   K, V, rotated q become bf16
 *
 * Behind a norm the GPU rounds x * weight and applies the factor rsqrt(mean(x^2) + epsilon) to the product; here the finished
 * row is rounded. Both are the same within an ulp of f32, since a scale made from amax follows any factor.
 */
#ifndef SLIP_KERNELS_CPU_ROUND_H
#define SLIP_KERNELS_CPU_ROUND_H

#include "ranks/model/program.h"

/* To nearest, ties to even. e4m3 saturates at 448; NaN stays NaN in both. */
float slip_round_bf16(float x);
float slip_round_e4m3(float x);

/* out [columns] = x [columns] as an operand of a weight stored as `weight`. In place allowed. */
void slip_round_operand(slip_dtype weight, const float *x, int64_t columns, float *out);

#endif
