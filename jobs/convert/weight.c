#include "jobs/convert/weight.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"

/* Everything one weight needs on its way. */
typedef struct {
    slip_convert_source *source;
    const slip_weight_spec *weight;
    slip_st_dtype from; /* of every source tensor of this weight */
    slip_dtype to;
    slip_dataset codes, scales; /* as they will be stored */
    char *code_bytes, *scale_bytes;
} conversion;

static slip_status refuse(const conversion *c, const slip_st_tensor *tensor, const char *problem)
{
    return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: %s", slip_safetensors_path(c->source->folder, tensor),
                     tensor->name, problem);
}

/* ---- one source tensor ---- */

/* The tensor of a weight (of one of its experts), its scales with a suffix. */
static slip_status take(const conversion *c, int64_t expert, const char *suffix,
                        const slip_st_tensor **tensor)
{
    *tensor = slip_convert_source_take(c->source, c->weight, expert, suffix);
    if (*tensor == NULL) {
        char name[SLIP_SOURCE_NAME];
        slip_convert_source_name(c->weight, 0, expert, suffix, name);
        return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s is missing", c->source->path, name);
    }
    return SLIP_OK;
}

/* A source tensor has the dataset's shape, less the axis along which experts are stacked. */
static slip_status check_shape(const conversion *c, const slip_st_tensor *tensor, const int64_t *shape,
                               int dims)
{
    if (tensor->dims == dims && memcmp(tensor->shape, shape, (size_t)dims * sizeof *shape) == 0)
        return SLIP_OK;
    char problem[160];
    int used = snprintf(problem, sizeof problem, "shape [");
    for (int i = 0; i < tensor->dims && used < 70; i++)
        used += snprintf(problem + used, sizeof problem - (size_t)used, "%s%lld", i > 0 ? ", " : "",
                         (long long)tensor->shape[i]);
    used += snprintf(problem + used, sizeof problem - (size_t)used, "], but the config asks for [");
    for (int i = 0; i < dims; i++)
        used += snprintf(problem + used, sizeof problem - (size_t)used, "%s%lld%s", i > 0 ? ", " : "",
                         (long long)shape[i], i == dims - 1 ? "]" : "");
    return refuse(c, tensor, problem);
}

static slip_status check_part(const conversion *c, const slip_st_tensor *tensor, const slip_dataset *dataset)
{
    int stacked = c->weight->row->kind == SLIP_KIND_EXPERTS;
    return check_shape(c, tensor, dataset->shape + stacked, dataset->dims - stacked);
}

static slip_status read_all(const conversion *c, const slip_st_tensor *tensor, void *out)
{
    return slip_safetensors_read(c->source->folder, tensor, 0, tensor->bytes, out);
}

/* ---- values ---- */

static void widen(slip_st_dtype from, const void *data, int64_t count, float *out)
{
    const uint16_t *halves = data;
    if (from == SLIP_ST_F32)
        memcpy(out, data, (size_t)count * sizeof *out);
    for (int64_t i = 0; i < count && from == SLIP_ST_BF16; i++)
        out[i] = slip_bf16_to_f32(halves[i]);
    for (int64_t i = 0; i < count && from == SLIP_ST_F16; i++)
        out[i] = slip_f16_to_f32(halves[i]);
}

static bool round_rows(const slip_weight_spec *weight, const float *values, char *codes, char *scales)
{
    int64_t columns = weight->columns;
    for (int64_t row = 0; row < weight->rows; row++)
        if (!slip_mxfp4_round_row(values + row * columns, columns, (uint8_t *)codes + row * (columns / 2),
                                  (uint8_t *)scales + row * (columns / SLIP_MXFP4_BLOCK)))
            return false;
    return true;
}

static slip_status no_memory(const conversion *c)
{
    return slip_fail(SLIP_ERR_FAILED, "%s: no memory to convert /%s", c->source->path, c->weight->name);
}

/* Through f32: to f32 where the source is narrower than what is stored, or rounded to MXFP4. */
static slip_status convert_values(const conversion *c, const slip_st_tensor *tensor, char *codes,
                                  char *scales)
{
    int64_t count = c->weight->rows * c->weight->columns;
    void *raw = malloc((size_t)tensor->bytes);
    float *values = malloc((size_t)count * sizeof *values);
    slip_status status = raw != NULL && values != NULL ? read_all(c, tensor, raw) : no_memory(c);
    if (status == SLIP_OK) {
        widen(c->from, raw, count, values);
        if (c->to == SLIP_F32)
            memcpy(codes, values, (size_t)count * sizeof *values);
        else if (!round_rows(c->weight, values, codes, scales))
            status = refuse(c, tensor, "a value is not finite and cannot be rounded to MXFP4");
    }
    free(values);
    free(raw);
    return status;
}

/* The source's own scales, checked for values that no quantiser writes. */
static slip_status copy_scales(const conversion *c, int64_t expert, char *out)
{
    bool mx = c->to == SLIP_MXFP4;
    const slip_st_tensor *tensor;
    slip_status status = take(c, expert, mx ? "_scale" : "_scale_inv", &tensor);
    if (status != SLIP_OK)
        return status;
    if (tensor->dtype != (mx ? SLIP_ST_U8 : SLIP_ST_F32))
        return refuse(c, tensor, mx ? "scales of MXFP4 must be U8" : "scales of F8_E4M3 must be F32");
    status = check_part(c, tensor, &c->scales);
    if (status == SLIP_OK)
        status = read_all(c, tensor, out);
    if (status != SLIP_OK)
        return status;
    for (int64_t i = 0; mx && i < tensor->bytes; i++)
        if ((uint8_t)out[i] == SLIP_E8M0_NAN)
            return refuse(c, tensor, "a scale byte is 255, which is not a number");
    for (int64_t i = 0; !mx && i < tensor->bytes; i += (int64_t)sizeof(float)) {
        float scale;
        memcpy(&scale, out + i, sizeof scale);
        if (!isfinite(scale))
            return refuse(c, tensor, "a scale is not finite");
    }
    return SLIP_OK;
}

/* ---- the weight ---- */

/* What a source type is stored as; false where it cannot be. */
static bool stored_type(const slip_weight_spec *weight, slip_st_dtype from, bool round_experts, slip_dtype *to)
{
    bool round = round_experts && weight->row->kind == SLIP_KIND_EXPERTS;
    switch (from) {
    case SLIP_ST_F32:
    case SLIP_ST_F16: *to = round ? SLIP_MXFP4 : SLIP_F32; break;
    case SLIP_ST_BF16:
        *to = round ? SLIP_MXFP4 : weight->row->kind == SLIP_KIND_SCALAR ? SLIP_F32 : SLIP_BF16;
        break;
    case SLIP_ST_F8E4M3: *to = SLIP_F8E4M3; return !round && slip_layout_allows(weight, *to);
    case SLIP_ST_U8: *to = SLIP_MXFP4; break;
    case SLIP_ST_OTHER: return false;
    }
    return slip_layout_allows(weight, *to);
}

static slip_status choose_type(conversion *c, const slip_st_tensor *first, bool round_experts)
{
    c->from = first->dtype;
    if (stored_type(c->weight, c->from, round_experts, &c->to))
        return SLIP_OK;
    if (round_experts && c->weight->row->kind == SLIP_KIND_EXPERTS && c->from == SLIP_ST_F8E4M3)
        return refuse(c, first,
                      "experts in F8_E4M3 are kept as they are; --experts mxfp4 would round them again");
    if (c->to == SLIP_MXFP4 && c->weight->row->kind == SLIP_KIND_EXPERTS)
        return refuse(c, first, "MXFP4 needs columns in a multiple of 32");
    return refuse(c, first, "its dtype is not supported for this weight");
}

static slip_status convert_part(const conversion *c, int64_t expert)
{
    const slip_st_tensor *tensor;
    slip_status status = take(c, expert, "", &tensor);
    if (status != SLIP_OK)
        return status;
    char *codes = c->code_bytes + expert * (c->codes.bytes / c->weight->experts);
    char *scales = c->scale_bytes + expert * (c->scales.bytes / c->weight->experts);
    if (tensor->dtype != c->from)
        return refuse(c, tensor, "its dtype differs from expert 0's");
    bool as_is = (c->from == SLIP_ST_F32 && c->to == SLIP_F32) ||
                 (c->from == SLIP_ST_BF16 && c->to == SLIP_BF16) || c->from == SLIP_ST_F8E4M3 ||
                 c->from == SLIP_ST_U8;
    if (!as_is) {
        slip_dataset plain, none; /* the shape of the source is that of unrounded values */
        slip_layout_datasets(c->weight, SLIP_F32, &plain, &none);
        status = check_part(c, tensor, &plain);
        return status == SLIP_OK ? convert_values(c, tensor, codes, scales) : status;
    }
    status = check_part(c, tensor, &c->codes);
    if (status == SLIP_OK)
        status = read_all(c, tensor, codes);
    if (status == SLIP_OK && c->scales.bytes > 0)
        status = copy_scales(c, expert, scales);
    return status;
}

static slip_status write_datasets(const conversion *c, slip_checkpoint_writer *writer)
{
    slip_status status = slip_checkpoint_add(writer, &c->codes, c->code_bytes);
    if (status == SLIP_OK && c->scales.bytes > 0)
        status = slip_checkpoint_add(writer, &c->scales, c->scale_bytes);
    return status;
}

slip_status slip_convert_weight(slip_checkpoint_writer *writer, slip_convert_source *source,
                                const slip_weight_spec *weight, bool round_experts, int64_t *bytes)
{
    conversion c = {.source = source, .weight = weight};
    const slip_st_tensor *first;
    slip_status status = take(&c, 0, "", &first);
    if (status == SLIP_OK)
        status = choose_type(&c, first, round_experts);
    if (status != SLIP_OK)
        return status;
    slip_layout_datasets(weight, c.to, &c.codes, &c.scales);
    c.code_bytes = malloc((size_t)c.codes.bytes);
    c.scale_bytes = malloc((size_t)c.scales.bytes + 1);
    if (c.code_bytes == NULL || c.scale_bytes == NULL)
        status = no_memory(&c);
    for (int64_t expert = 0; expert < weight->experts && status == SLIP_OK; expert++)
        status = convert_part(&c, expert);
    if (status == SLIP_OK)
        status = write_datasets(&c, writer);
    free(c.scale_bytes);
    free(c.code_bytes);
    if (status == SLIP_OK)
        *bytes += c.codes.bytes + c.scales.bytes;
    return status;
}
