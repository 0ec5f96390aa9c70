/* Appending to a program: the words in which families write them. */
#ifndef SLIP_RANKS_MODEL_EMIT_H
#define SLIP_RANKS_MODEL_EMIT_H

#include "ranks/model/build.h"

/* Make room for `ops` ops, `tensors` tensors and `parts` parts; appending beyond that is our own mistake (assert). */
slip_status slip_emit_start(slip_program *program, int32_t ops, int32_t tensors, int32_t parts);

/* For datasets without an axis of experts. */
#define SLIP_NOT_STACKED ((slip_range){-1, 0})

/* A tensor of no parts yet. Returns its index. */
int32_t slip_emit_tensor(slip_program *program, slip_range experts, slip_range columns);

/* Add rows of the dataset "prefix/name" to the last tensor. */
void slip_emit_part(slip_program *program, const char *prefix, const char *name, slip_range rows);

/* A tensor of one part. */
int32_t slip_emit_matrix(slip_program *program, const char *prefix, const char *name, slip_range rows, slip_range columns);

/* A vector of `count` values from `first` on. */
int32_t slip_emit_vector(slip_program *program, const char *prefix, const char *name, slip_range values);

/* Append an op with no layer, no flags and weights (w0, w1); the caller may fill in the rest through the pointer. */
slip_op *slip_emit_op(slip_program *program, slip_op_kind kind, slip_buffer in, slip_buffer out, int32_t w0, int32_t w1);

/* ---- the pieces that target and draft share ---- */

/* x = sum over ranks of the embedding rows. `mask_weight`: the drafter's mask embedding or SLIP_NO_WEIGHT. */
void slip_emit_embed(slip_program *program, int32_t embed_weight, int32_t mask_weight);

/* h = RMSNorm(x) with the vector "prefix/name". */
void slip_emit_norm(slip_program *program, const char *prefix, const char *name, int64_t hidden);

/* x += sum over ranks of heads * o transposed. */
void slip_emit_output(slip_program *program, const char *prefix, slip_range q_heads, int32_t v_head_dim, int64_t hidden);

/* h -> gate|up -> act -> x += sum over ranks of act * down transposed. */
void slip_emit_dense(slip_program *program, const char *prefix, slip_range columns, int64_t hidden);

/* logits = RMSNorm(selected rows of x) * head transposed, for this rank's vocabulary rows. */
void slip_emit_head(slip_program *program, const char *norm_prefix, slip_range vocabulary, int64_t hidden);

/* A layer's attention on this rank: its cache, for the next layer in order, and the buffers that it needs. The caller may fill in
 * what else its layers have through the pointer. */
slip_cache *slip_emit_cache(slip_program *program, const slip_attention *attention, slip_range q, slip_range kv, float value_scale);

/* Raise the width of a buffer to at least `width`. */
void slip_emit_width(slip_program *program, slip_buffer buffer, int64_t width);

#endif
