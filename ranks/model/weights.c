#include "ranks/model/weights.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "ranks/model/family.h"

/* No product wraps: ranks/model/config/limits.h bounds every size. */
static int64_t axis_size(const slip_model *model, const slip_weight_row *row, int32_t layer, slip_axis axis)
{
    const slip_attention *a = layer >= 0 ? slip_weight_attention(model, row, layer) : &model->global;
    switch (axis) {
    case SLIP_AXIS_ONE: return 1;
    case SLIP_AXIS_HIDDEN: return model->hidden;
    case SLIP_AXIS_VOCABULARY: return model->vocabulary;
    case SLIP_AXIS_Q: return (int64_t)a->heads * a->head_dim;
    case SLIP_AXIS_K: return (int64_t)a->kv_heads * a->head_dim;
    case SLIP_AXIS_V: return (int64_t)a->kv_heads * a->v_head_dim;
    case SLIP_AXIS_QKV: return (int64_t)(a->heads + a->kv_heads) * a->head_dim + (int64_t)a->kv_heads * a->v_head_dim;
    case SLIP_AXIS_O: return (int64_t)a->heads * a->v_head_dim;
    case SLIP_AXIS_HEADS: return a->heads;
    case SLIP_AXIS_HEAD_DIM: return a->head_dim;
    case SLIP_AXIS_DENSE: return slip_weight_of_draft(row) ? model->draft.intermediate : model->dense_intermediate;
    case SLIP_AXIS_EXPERT: return model->moe_intermediate;
    case SLIP_AXIS_EXPERTS: return model->experts;
    case SLIP_AXIS_TAPS: return (int64_t)model->draft.taps * model->hidden;
    case SLIP_AXIS_MARKOV: return model->draft.markov;
    }
    return 0;
}

bool slip_weight_exists(const slip_model *model, const slip_weight_row *row, int32_t layer)
{
    if ((row->place == SLIP_AT_TARGET || row->place == SLIP_AT_DRAFT) != (layer < 0))
        return false;
    if (row->place == SLIP_AT_DENSE_LAYERS && model->is_moe[layer])
        return false;
    if (row->place == SLIP_AT_MOE_LAYERS && !model->is_moe[layer])
        return false;
    return row->when == NULL || row->when(model, layer);
}

slip_weight_spec slip_weight_make(const slip_model *model, const slip_weight_row *row, int32_t layer)
{
    slip_weight_spec spec = {
        .row = row,
        .layer = layer,
        .chunks = row->rows == SLIP_AXIS_QKV ? model->qkv_chunks : 1,
        .experts = row->kind == SLIP_KIND_EXPERTS ? model->experts : 1,
        .rows = axis_size(model, row, layer, row->rows),
        .columns = axis_size(model, row, layer, row->columns),
    };
    const char *part = slip_weight_of_draft(row) ? "draft" : "target";
    if (layer < 0)
        snprintf(spec.name, sizeof spec.name, "%s/%s", part, row->name);
    else
        snprintf(spec.name, sizeof spec.name, "%s/layers/%d/%s", part, layer, row->name);
    return spec;
}

/* Append the table's weights to `specs`, which may be NULL to count them only. */
static size_t list_table(const slip_model *model, const slip_weight_table *table, int32_t layers, slip_weight_spec *specs)
{
    size_t count = 0;
    for (int32_t layer = -1; layer < layers; layer++)
        for (int32_t i = 0; i < table->count; i++)
            if (slip_weight_exists(model, &table->rows[i], layer)) {
                if (specs != NULL)
                    specs[count] = slip_weight_make(model, &table->rows[i], layer);
                count++;
            }
    return count;
}

static size_t list_all(const slip_model *model, slip_weight_spec *specs)
{
    size_t count = list_table(model, model->family->weights, model->layers, specs);
    if (model->has_draft)
        count += list_table(model, model->family->draft_weights, model->draft.layers, specs != NULL ? specs + count : NULL);
    return count;
}

slip_status slip_weight_list(const slip_model *model, slip_weight_spec **specs, size_t *count)
{
    size_t wanted = list_all(model, NULL);
    assert(wanted > 0);
    slip_weight_spec *list = calloc(wanted, sizeof *list);
    if (list == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for a list of %zu weights", wanted);
    list_all(model, list);
    *specs = list;
    *count = wanted;
    return SLIP_OK;
}
