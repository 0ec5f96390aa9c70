/* Appending to a program: the words in which families write them. Which rows and columns of a weight a rank has follows from the
 * weight's row in the family's table and from the placement.
 */
#ifndef SLIP_RANKS_MODEL_EMIT_H
#define SLIP_RANKS_MODEL_EMIT_H

#include "ranks/model/build.h"
#include "ranks/model/weights.h"

typedef struct {
    slip_program *program;
    const slip_model *model;
    const slip_placement *placement;
    int32_t layer; /* of the ops and weights that follow; -1: outside of layers */
} slip_emitter;

/* Begin a program: make room for `ops` ops, `tensors` tensors and `parts` parts (appending beyond that is our own mistake: assert)
 * and set the widths that every program has. */
slip_status slip_emit_start(slip_emitter *e, int32_t ops, int32_t tensors, int32_t parts);

/* A tensor of no rows yet, with this rank's columns (and experts) of `row`. Returns its index. */
int32_t slip_emit_tensor(slip_emitter *e, const slip_weight_row *row);

/* Add rows of a weight to the last tensor: those given, or this rank's. */
void slip_emit_rows(slip_emitter *e, const slip_weight_row *row, slip_range rows);
void slip_emit_share(slip_emitter *e, const slip_weight_row *row);

/* A tensor of this rank's share of one weight, or of one stacked on another. */
int32_t slip_emit_weight(slip_emitter *e, const slip_weight_row *row);
int32_t slip_emit_stacked(slip_emitter *e, const slip_weight_row *upper, const slip_weight_row *lower);

/* Append an op with no flags and weights (w0, w1); the caller may fill in the rest through the pointer. */
slip_op *slip_emit_op(slip_emitter *e, slip_op_kind kind, slip_buffer in, slip_buffer out, int32_t w0, int32_t w1);

/* ---- the pieces that programs share ---- */

/* x = sum over ranks of the embedding rows. `mask_weight`: the drafter's mask embedding or SLIP_NO_WEIGHT. */
void slip_emit_embed(slip_emitter *e, const slip_weight_row *embed, int32_t mask_weight);

/* h = RMSNorm(x). */
void slip_emit_norm(slip_emitter *e, const slip_weight_row *norm);

/* x += sum over ranks of heads * o transposed. */
void slip_emit_output(slip_emitter *e, const slip_weight_row *o);

/* h -> gate|up -> act -> x += sum over ranks of act * down transposed. */
void slip_emit_dense(slip_emitter *e, const slip_weight_row *gate, const slip_weight_row *up, const slip_weight_row *down);

/* Pick each token's experts by the model's rule. `bias` NULL: none. */
void slip_emit_route(slip_emitter *e, const slip_weight_row *router, const slip_weight_row *bias);

/* As slip_emit_dense(), with the experts that were picked. */
void slip_emit_experts(slip_emitter *e, const slip_weight_row *gate, const slip_weight_row *up, const slip_weight_row *down);

/* logits = RMSNorm(selected rows of x) * head transposed, for this rank's vocabulary rows. */
void slip_emit_head(slip_emitter *e, const slip_weight_row *norm, const slip_weight_row *head);

/* A layer's attention on this rank: its cache, for the next layer in order, and the buffers that it needs. The caller may fill in
 * what else its layers have through the pointer. */
slip_cache *slip_emit_cache(slip_emitter *e, const slip_attention *attention, slip_range q, slip_range kv, float value_scale);

/* Raise the width of a buffer to at least `width`. */
void slip_emit_width(slip_emitter *e, slip_buffer buffer, int64_t width);

#endif
