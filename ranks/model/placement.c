#include "ranks/model/placement.h"

#include <assert.h>

slip_range slip_placement_piece(int64_t total, int64_t unit, int64_t n, int64_t i)
{
    int64_t units = (total + unit - 1) / unit;
    int64_t first = units * i / n * unit;
    int64_t last = units * (i + 1) / n * unit;
    if (first > total)
        first = total;
    if (last > total)
        last = total;
    return (slip_range){first, last - first};
}

bool slip_placement_allows(const slip_model *model, int32_t ranks, int32_t slices)
{
    return slices >= 1 && slices <= ranks && ranks % slices == 0 &&
           (slices == 1 || model->experts == 0 || (int64_t)slices * SLIP_MXFP4_BLOCK <= model->moe_intermediate);
}

/* Whole K/V groups where there are enough of them; else single query heads, each with a copy of its K/V head. */
static void place_heads(const slip_attention *attention, int32_t ranks, int32_t rank, slip_range *q, slip_range *kv)
{
    int64_t group = attention->heads / attention->kv_heads;
    int64_t unit = attention->kv_heads >= ranks ? group : 1;
    *q = slip_placement_piece(attention->heads, unit, ranks, rank);
    if (q->count == 0) {
        *kv = (slip_range){0, 0};
        return;
    }
    int64_t last = (q->first + q->count - 1) / group;
    kv->first = q->first / group;
    kv->count = last - kv->first + 1;
}

slip_status slip_placement_check(const slip_model *model, int32_t ranks, int32_t slices)
{
    if (slip_placement_allows(model, ranks, slices))
        return SLIP_OK;
    if (slices < 1 || ranks % slices != 0)
        return slip_fail(SLIP_ERR_INPUT, "--expert-slices %d: it must divide the %d worker rank%s", slices, ranks, ranks == 1 ? "" : "s");
    return slip_fail(SLIP_ERR_INPUT, "--expert-slices %d: an expert has %d columns, and a slice at least %d", slices,
                     model->moe_intermediate, SLIP_MXFP4_BLOCK);
}

slip_status slip_placement_make(const slip_model *model, int32_t ranks, int32_t slices, int32_t rank, slip_placement *placement)
{
    slip_status status = slip_placement_check(model, ranks, slices);
    if (status != SLIP_OK)
        return status;
    slip_placement p = {.ranks = ranks, .rank = rank, .slices = slices};
    place_heads(&model->global, ranks, rank, &p.q_heads[0], &p.kv_heads[0]);
    place_heads(&model->sliding, ranks, rank, &p.q_heads[1], &p.kv_heads[1]);
    p.vocabulary = slip_placement_piece(model->vocabulary, 1, ranks, rank);
    p.dense = slip_placement_piece(model->dense_intermediate, SLIP_MXFP4_BLOCK, ranks, rank);
    p.experts = slip_placement_piece(model->experts, 1, ranks / slices, rank / slices);
    p.expert_columns = slip_placement_piece(model->moe_intermediate, SLIP_MXFP4_BLOCK, slices, rank % slices);
    *placement = p;
    return SLIP_OK;
}

void slip_placement_draft(const slip_model *model, int32_t ranks, int32_t rank, slip_placement *placement)
{
    const slip_draft_shape *draft = &model->draft;
    slip_placement p = {.ranks = ranks, .rank = rank, .slices = 1};
    place_heads(&draft->attention, ranks, rank, &p.q_heads[0], &p.kv_heads[0]);
    p.q_heads[1] = p.q_heads[0];
    p.kv_heads[1] = p.kv_heads[0];
    p.vocabulary = slip_placement_piece(model->vocabulary, 1, ranks, rank);
    p.dense = slip_placement_piece(draft->intermediate, SLIP_MXFP4_BLOCK, ranks, rank);
    p.taps = slip_placement_piece((int64_t)draft->taps * model->hidden, SLIP_MXFP4_BLOCK, ranks, rank);
    *placement = p;
}

double slip_placement_kv_copies(const slip_attention *attention, int32_t ranks)
{
    return ranks > attention->kv_heads ? (double)ranks / attention->kv_heads : 1;
}

static slip_range times(slip_range heads, int64_t dim)
{
    return (slip_range){heads.first * dim, heads.count * dim};
}

static slip_range attention_axis(const slip_placement *placement, const slip_model *model, const slip_weight_row *row, int32_t layer,
                                 slip_axis axis)
{
    const slip_attention *attention = slip_weight_attention(model, row, layer);
    int kind = !slip_weight_of_draft(row) && model->is_sliding[layer];
    switch (axis) {
    case SLIP_AXIS_Q: return times(placement->q_heads[kind], attention->head_dim);
    case SLIP_AXIS_K: return times(placement->kv_heads[kind], attention->head_dim);
    case SLIP_AXIS_V: return times(placement->kv_heads[kind], attention->v_head_dim);
    case SLIP_AXIS_O: return times(placement->q_heads[kind], attention->v_head_dim);
    case SLIP_AXIS_HEADS: return placement->q_heads[kind];
    default: break;
    }
    assert(!"an axis that is not cut in one piece");
    return (slip_range){0, 0};
}

slip_range slip_placement_axis(const slip_placement *placement, const slip_model *model, const slip_weight_row *row, int32_t layer,
                               slip_axis axis)
{
    switch (axis) {
    case SLIP_AXIS_VOCABULARY: return placement->vocabulary;
    case SLIP_AXIS_DENSE: return placement->dense;
    case SLIP_AXIS_EXPERT: return placement->expert_columns;
    case SLIP_AXIS_TAPS: return placement->taps;
    default: return attention_axis(placement, model, row, layer, axis);
    }
}
