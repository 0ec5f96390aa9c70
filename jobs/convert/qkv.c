#include "jobs/convert/qkv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/config/settings.h"

/* ---- which layout ---- */

static const slip_weight_row *row_of(const slip_weight_table *table, slip_axis axis)
{
    for (int32_t i = 0; i < table->count; i++)
        if (table->rows[i].rows == axis && table->rows[i].kind == SLIP_KIND_MATRIX)
            return &table->rows[i];
    return NULL;
}

/* The scales of a weight of a layer; NULL: it has none. */
static const slip_st_tensor *scales_of(const slip_convert_source *source, const slip_model *model, const slip_weight_row *row,
                                       int32_t layer, slip_weight_spec *weight)
{
    char name[SLIP_SOURCE_NAME];
    *weight = slip_weight_make(model, row, layer);
    slip_convert_source_name(weight, 0, 0, "_scale_inv", name);
    return slip_safetensors_find(source->folder, name);
}

/* Do all layers' scales have the rows that so many chunks would give them? */
static bool scales_fit(const slip_convert_source *source, const slip_model *model, const slip_weight_row *row, int32_t chunks, bool *any)
{
    slip_model tried = *model;
    tried.qkv_chunks = chunks;
    for (int32_t layer = 0; layer < model->layers; layer++) {
        slip_weight_spec weight;
        slip_dataset codes, scales;
        const slip_st_tensor *found = scales_of(source, &tried, row, layer, &weight);
        slip_layout_datasets(&weight, SLIP_F8E4M3, &codes, &scales);
        *any |= found != NULL;
        if (found != NULL && (found->dims != 2 || found->shape[0] != scales.shape[0]))
            return false;
    }
    return true;
}

static slip_status settle_fused(const slip_convert_source *source, const slip_weight_row *row, slip_model *model)
{
    int32_t said = slip_safetensors_tp_size(source->folder), usual = model->qkv_chunks;
    bool any = false;
    if (said > 0 && !slip_settings_chunks_fit(model, said))
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: model.safetensors.index.json: metadata.tp_size is %d: the heads do not divide into so many chunks of qkv",
                         source->path, said);
    if (said > 0)
        model->qkv_chunks = said;
    if (said > 0 || usual == 1)
        return SLIP_OK;
    bool plain = scales_fit(source, model, row, 1, &any), chunked = scales_fit(source, model, row, usual, &any);
    if (plain && chunked)
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: nothing tells whether the rows of qkv lie in %d chunks or in one: metadata.tp_size in "
                         "model.safetensors.index.json, %d or 1, would",
                         source->path, usual, usual);
    if (plain && any)
        model->qkv_chunks = 1;
    return SLIP_OK;
}

/* k's scales restart at each head, and so cannot be k's alone. */
static bool straddles(const slip_convert_source *source, const slip_model *model, const slip_weight_row *k)
{
    for (int32_t layer = 0; layer < model->layers; layer++) {
        const slip_attention *a = slip_model_attention(model, layer);
        slip_weight_spec weight;
        const slip_st_tensor *scales = scales_of(source, model, k, layer, &weight);
        if (scales != NULL && scales->dims == 2 && scales->shape[0] != slip_f8_blocks(weight.rows) &&
            scales->shape[0] == a->kv_heads * slip_f8_blocks(a->head_dim))
            return true;
    }
    return false;
}

slip_status slip_convert_qkv_settle(const slip_convert_source *source, slip_model *model)
{
    const slip_weight_row *fused = row_of(source->table, SLIP_AXIS_QKV), *k = row_of(source->table, SLIP_AXIS_K);
    if (fused == NULL)
        return SLIP_OK;
    if (model->qkv_chunks > 0)
        return settle_fused(source, fused, model);
    if (k != NULL && straddles(source, model, k) && slip_settings_chunks_fit(model, model->global.kv_heads))
        model->qkv_chunks = model->global.kv_heads;
    return SLIP_OK;
}

/* ---- joining ---- */

enum { PARTS = 3 };

typedef struct {
    slip_weight_spec weight;              /* q, k or v */
    const slip_st_tensor *codes, *scales; /* F8_E4M3 and F32 */
} part;

/* The weight beside the fused one: its sizes are those of the layer's heads, which the fused one's rows are the sum of. */
static slip_weight_spec part_weight(const slip_convert_source *source, const slip_weight_spec *fused, slip_axis axis)
{
    slip_weight_spec weight = *fused;
    weight.row = row_of(source->table, axis);
    weight.chunks = 1;
    return weight;
}

bool slip_convert_qkv_is_apart(const slip_convert_source *source, const slip_weight_spec *weight)
{
    static const slip_axis axes[PARTS] = {SLIP_AXIS_Q, SLIP_AXIS_K, SLIP_AXIS_V};
    bool any = false;
    if (weight->row->rows != SLIP_AXIS_QKV || slip_convert_source_has(source, weight))
        return false;
    for (int i = 0; i < PARTS && !any; i++) {
        slip_weight_spec one = part_weight(source, weight, axes[i]);
        any = one.row != NULL && slip_convert_source_has(source, &one);
    }
    return any;
}

static slip_status refuse(const slip_convert_source *source, const slip_st_tensor *tensor, const char *problem)
{
    return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: %s", slip_safetensors_path(source->folder, tensor), tensor->name, problem);
}

/* Whole rows of codes and of scales for every chunk. */
static slip_status find_part(slip_convert_source *source, const slip_weight_spec *fused, slip_axis axis, part *found)
{
    part p = {.weight = part_weight(source, fused, axis)};
    slip_status status = slip_conversion_take(source, &p.weight, 0, "", NULL, 0, &p.codes);
    if (status == SLIP_OK)
        status = slip_conversion_take(source, &p.weight, 0, "_scale_inv", NULL, 0, &p.scales);
    if (status != SLIP_OK)
        return status;
    assert(p.codes != NULL && p.scales != NULL); /* taken */
    if (p.codes->dtype != SLIP_ST_F8E4M3 || p.scales->dtype != SLIP_ST_F32)
        return refuse(source, p.codes->dtype != SLIP_ST_F8E4M3 ? p.codes : p.scales,
                      "where heads of k and v share scales, q, k and v must be F8_E4M3 with F32 scales");
    if (p.codes->dims != 2 || p.codes->shape[1] != fused->columns || p.codes->shape[0] % fused->chunks != 0)
        return refuse(source, p.codes, "its shape does not fit the config's heads");
    if (p.scales->dims != 2 || p.scales->shape[1] != slip_f8_blocks(fused->columns) || p.scales->shape[0] % fused->chunks != 0)
        return refuse(source, p.scales, "its shape does not fit the config's heads");
    *found = p;
    return SLIP_OK;
}

static slip_status find_parts(slip_convert_source *source, const slip_weight_spec *fused, part parts[PARTS])
{
    static const slip_axis axes[PARTS] = {SLIP_AXIS_Q, SLIP_AXIS_K, SLIP_AXIS_V};
    slip_status status = SLIP_OK;
    int64_t rows = 0, scale_rows = 0;
    for (int i = 0; i < PARTS && status == SLIP_OK; i++)
        status = find_part(source, fused, axes[i], &parts[i]);
    if (status != SLIP_OK)
        return status;
    for (int i = 0; i < PARTS; i++) {
        rows += parts[i].codes->shape[0];
        scale_rows += parts[i].scales->shape[0];
    }
    if (rows != fused->rows)
        return refuse(source, parts[1].codes, "the rows of q, k and v are not those that the config asks for");
    if (parts[0].codes->shape[0] / fused->chunks % SLIP_F8_BLOCK != 0 ||
        scale_rows != fused->chunks * slip_f8_blocks(fused->rows / fused->chunks))
        return refuse(source, parts[1].scales, "with those of q and v, its rows are not the scales of chunks of a fused qkv");
    return SLIP_OK;
}

slip_status slip_convert_qkv_plan(slip_convert_source *source, const slip_weight_spec *weight, slip_conversion *conversion)
{
    part parts[PARTS];
    slip_status status = find_parts(source, weight, parts);
    if (status != SLIP_OK)
        return status;
    *conversion = (slip_conversion){.source = source, .weight = weight, .joined = true, .from = SLIP_ST_F8E4M3, .to = SLIP_F8E4M3};
    slip_layout_datasets(weight, SLIP_F8E4M3, &conversion->codes, &conversion->scales);
    return SLIP_OK;
}

/* Spread a tensor over the chunks, each of whose shares begins `offset` bytes into the chunk. */
static slip_status spread(const slip_convert_source *source, const slip_st_tensor *tensor, slip_read_kind kind, int32_t chunks,
                          int64_t chunk_bytes, int64_t offset, char *out)
{
    int64_t share = tensor->bytes / chunks;
    char *bytes = malloc((size_t)tensor->bytes);
    if (bytes == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for tensor %s", source->path, tensor->name);
    slip_status status = slip_conversion_read(source, tensor, kind, bytes);
    for (int32_t c = 0; c < chunks && status == SLIP_OK; c++)
        memcpy(out + c * chunk_bytes + offset, bytes + c * share, (size_t)share);
    free(bytes);
    return status;
}

slip_status slip_convert_qkv_join(const slip_conversion *conversion, char *codes, char *scales)
{
    const slip_conversion *c = conversion;
    int32_t chunks = c->weight->chunks;
    int64_t code_offset = 0, scale_offset = 0;
    part parts[PARTS];
    slip_status status = find_parts(c->source, c->weight, parts);
    for (int i = 0; i < PARTS && status == SLIP_OK; i++) {
        status = spread(c->source, parts[i].codes, SLIP_READ_VALUES, chunks, c->codes.bytes / chunks, code_offset, codes);
        if (status == SLIP_OK)
            status = spread(c->source, parts[i].scales, SLIP_READ_F8_SCALES, chunks, c->scales.bytes / chunks, scale_offset, scales);
        code_offset += parts[i].codes->bytes / chunks;
        scale_offset += parts[i].scales->bytes / chunks;
    }
    return status;
}
