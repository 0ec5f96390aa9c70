/* Who owns what. Nobody else knows. */
#ifndef SLIP_RANKS_MODEL_PLACEMENT_H
#define SLIP_RANKS_MODEL_PLACEMENT_H

#include "io/base/status.h"
#include "ranks/model/program.h"
#include "ranks/model/weights.h"

/* The share of one rank among `ranks` worker ranks. Ranges may be empty when there are more ranks than pieces. */
typedef struct {
    int32_t ranks, rank;
    int32_t slices;            /* s: ranks that share one expert */
    slip_range q_heads[2];     /* [0] global layers, [1] sliding layers */
    slip_range kv_heads[2];    /* those that the query heads read; replicated when there are more ranks than K/V heads */
    slip_range vocabulary;     /* rows of embedding and head */
    slip_range dense;          /* of the dense intermediate dimension */
    slip_range experts;        /* of the group of `slices` ranks */
    slip_range expert_columns; /* of the experts' intermediate dimension */
    slip_range taps;           /* the draft's: of a row of taps, columns of its first matrix */
} slip_placement;

/* The i-th of n nearly equal contiguous pieces of [0, total), cut at multiples of `unit`. */
slip_range slip_placement_piece(int64_t total, int64_t unit, int64_t n, int64_t i);

/* Every s that divides `ranks` and leaves each slice at least SLIP_MXFP4_BLOCK columns is allowed. */
bool slip_placement_allows(const slip_model *model, int32_t ranks, int32_t slices);

/* SLIP_ERR_INPUT, with the rule that is broken, where they are not allowed. */
slip_status slip_placement_check(const slip_model *model, int32_t ranks, int32_t slices);

/* SLIP_ERR_INPUT when `slices` is not allowed. */
slip_status slip_placement_make(const slip_model *model, int32_t ranks, int32_t slices, int32_t rank, slip_placement *placement);

/* The draft on `ranks` ranks, cut as the target is; its layers are all of a kind. On one: all of it. */
void slip_placement_draft(const slip_model *model, int32_t ranks, int32_t rank, slip_placement *placement);

/* On how many ranks, in the mean, a K/V head lies. */
double slip_placement_kv_copies(const slip_attention *attention, int32_t ranks);

/* This rank's share of the axis along which a weight is cut; its row's attention is that of `layer`. */
slip_range slip_placement_axis(const slip_placement *placement, const slip_model *model, const slip_weight_row *row, int32_t layer,
                               slip_axis axis);

#endif
