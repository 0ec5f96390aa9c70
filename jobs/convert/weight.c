#include "jobs/convert/weight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/convert/qkv.h"
#include "jobs/convert/values.h"
#include "ranks/model/mxfp4.h"

static slip_status refuse(const slip_convert_source *source, const slip_st_tensor *tensor, const char *problem)
{
    return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s: %s", slip_safetensors_path(source->folder, tensor), tensor->name, problem);
}

/* ---- one source tensor ---- */

/* "[768, 4096]"; longer lists are cut. */
static void describe(const int64_t *shape, int dims, char text[80])
{
    int used = snprintf(text, 80, "[");
    for (int i = 0; i < dims && used < 56; i++)
        used += snprintf(text + used, 80 - (size_t)used, "%s%lld", i > 0 ? ", " : "", (long long)shape[i]);
    snprintf(text + used, 80 - (size_t)used, "]");
}

static slip_status check_shape(const slip_convert_source *source, const slip_st_tensor *tensor, const int64_t *shape, int dims)
{
    char is[80], must[80], problem[256];
    if (tensor->dims == dims && memcmp(tensor->shape, shape, (size_t)dims * sizeof *shape) == 0)
        return SLIP_OK;
    describe(tensor->shape, tensor->dims, is);
    describe(shape, dims, must);
    snprintf(problem, sizeof problem, "shape %s, but the config asks for %s", is, must);
    return refuse(source, tensor, problem);
}

slip_status slip_conversion_take(slip_convert_source *source, const slip_weight_spec *weight, int64_t expert, const char *suffix,
                                 const int64_t *shape, int dims, const slip_st_tensor **tensor)
{
    *tensor = slip_convert_source_take(source, weight, expert, suffix);
    if (*tensor == NULL) {
        char name[SLIP_SOURCE_NAME];
        slip_convert_source_name(weight, 0, expert, suffix, name);
        return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s is missing", source->path, name);
    }
    return dims > 0 ? check_shape(source, *tensor, shape, dims) : SLIP_OK;
}

/* A source tensor has the dataset's shape, less the axis along which experts are stacked. */
static slip_status take(const slip_conversion *c, int64_t expert, const char *suffix, const slip_dataset *dataset,
                        const slip_st_tensor **tensor)
{
    int stacked = c->weight->row->kind == SLIP_KIND_EXPERTS;
    return slip_conversion_take(c->source, c->weight, expert, suffix, dataset->shape + stacked, dataset->dims - stacked, tensor);
}

/* The place of a value as its indices: "[3, 17]". */
static slip_status refuse_value(const slip_convert_source *source, const slip_st_tensor *tensor, int64_t index, const char *is)
{
    int64_t place[SLIP_TENSOR_DIMS];
    char where[80], problem[256];
    for (int i = tensor->dims - 1; i >= 0; i--) {
        place[i] = index % tensor->shape[i];
        index /= tensor->shape[i];
    }
    describe(place, tensor->dims, where);
    snprintf(problem, sizeof problem, "its value at %s is %s", where, is);
    return refuse(source, tensor, problem);
}

static slip_status check_f8_scales(const slip_convert_source *source, const slip_st_tensor *tensor, const float *scales, int64_t count)
{
    char is[112];
    int64_t bad = slip_values_find_bad_scale(scales, count);
    if (bad < 0)
        return SLIP_OK;
    snprintf(is, sizeof is, scales[bad] < 0 ? "%g: a scale cannot be below 0" : "%g: the weights would reach %g: is it the reciprocal?",
             (double)scales[bad], 448.0 * (double)scales[bad]);
    return refuse_value(source, tensor, bad, is);
}

slip_status slip_conversion_read(const slip_convert_source *source, const slip_st_tensor *tensor, slip_read_kind kind, void *out)
{
    bool e8m0 = kind == SLIP_READ_E8M0;
    int64_t count = 1, bad;
    slip_status status = slip_safetensors_read(source->folder, tensor, 0, tensor->bytes, out);
    if (status != SLIP_OK)
        return status;
    for (int i = 0; i < tensor->dims; i++)
        count *= tensor->shape[i];
    bad = e8m0 ? slip_values_find_bad_e8m0(out, count) : slip_values_find_bad(tensor->dtype, out, count);
    if (bad >= 0)
        return refuse_value(source, tensor, bad, e8m0 ? "not finite: a scale byte is 255" : "not finite");
    return kind == SLIP_READ_F8_SCALES ? check_f8_scales(source, tensor, out, count) : SLIP_OK;
}

/* ---- what it becomes ---- */

/* What a source type is stored as; false where it cannot be. */
static bool stored_type(const slip_weight_spec *weight, slip_st_dtype from, bool round_experts, slip_dtype *to)
{
    bool round = round_experts && weight->row->kind == SLIP_KIND_EXPERTS;
    switch (from) {
    case SLIP_ST_F32:
    case SLIP_ST_F16: *to = round ? SLIP_MXFP4 : SLIP_F32; break;
    case SLIP_ST_BF16: *to = round ? SLIP_MXFP4 : weight->row->kind == SLIP_KIND_SCALAR ? SLIP_F32 : SLIP_BF16; break;
    case SLIP_ST_F8E4M3: *to = round ? SLIP_MXFP4 : SLIP_F8E4M3; break;
    case SLIP_ST_U8: *to = SLIP_MXFP4; break;
    case SLIP_ST_F8E8M0:
    case SLIP_ST_OTHER: return false;
    }
    return slip_layout_allows(weight, *to);
}

static slip_status choose_type(slip_conversion *c, const slip_st_tensor *first, bool round_experts)
{
    c->from = first->dtype;
    if (stored_type(c->weight, c->from, round_experts, &c->to))
        return SLIP_OK;
    if (c->to == SLIP_MXFP4 && c->weight->row->kind == SLIP_KIND_EXPERTS)
        return refuse(c->source, first, "MXFP4 needs columns in a multiple of 32");
    return refuse(c->source, first, "its dtype is not supported for this weight");
}

/* The bytes of the source are those that are stored. */
static bool is_kept(const slip_conversion *c)
{
    return (c->from == SLIP_ST_F32 && c->to == SLIP_F32) || (c->from == SLIP_ST_BF16 && c->to == SLIP_BF16) ||
           (c->from == SLIP_ST_F8E4M3 && c->to == SLIP_F8E4M3) || c->from == SLIP_ST_U8;
}

static const char *scale_suffix(const slip_conversion *c)
{
    return c->from == SLIP_ST_F8E4M3 ? "_scale_inv" : "_scale";
}

/* The shape of the source is that of unrounded values, unless they are kept. */
static slip_dataset source_shape(const slip_conversion *c)
{
    slip_dataset plain, none;
    slip_layout_datasets(c->weight, SLIP_F32, &plain, &none);
    return is_kept(c) ? c->codes : plain;
}

/* The source's scales, which are not those that are stored where F8_E4M3 is rounded; bytes 0: none. */
static slip_dataset source_scales(const slip_conversion *c)
{
    slip_dataset codes, scales = c->scales;
    if (c->from == SLIP_ST_F8E4M3)
        slip_layout_datasets(c->weight, SLIP_F8E4M3, &codes, &scales);
    else if (!is_kept(c))
        scales.bytes = 0;
    return scales;
}

static slip_status check_scales(const slip_conversion *c, int64_t expert)
{
    bool mx = c->from != SLIP_ST_F8E4M3;
    const slip_st_tensor *tensor;
    slip_dataset wanted = source_scales(c);
    if (wanted.bytes == 0)
        return SLIP_OK;
    slip_status status = take(c, expert, scale_suffix(c), &wanted, &tensor);
    if (status != SLIP_OK)
        return status;
    if (mx && tensor->dtype != SLIP_ST_U8 && tensor->dtype != SLIP_ST_F8E8M0)
        return refuse(c->source, tensor, "scales of MXFP4 must be U8 or F8_E8M0");
    return mx || tensor->dtype == SLIP_ST_F32 ? SLIP_OK : refuse(c->source, tensor, "scales of F8_E4M3 must be F32");
}

static slip_status check_expert(const slip_conversion *c, int64_t expert)
{
    const slip_st_tensor *tensor;
    slip_dataset wanted = source_shape(c);
    slip_status status = slip_conversion_take(c->source, c->weight, expert, "", NULL, 0, &tensor);
    if (status == SLIP_OK && tensor->dtype != c->from)
        return refuse(c->source, tensor, "its dtype differs from expert 0's");
    if (status == SLIP_OK)
        status = take(c, expert, "", &wanted, &tensor);
    return status == SLIP_OK ? check_scales(c, expert) : status;
}

slip_status slip_conversion_plan(slip_convert_source *source, const slip_weight_spec *weight, bool round_experts,
                                 slip_conversion *conversion)
{
    slip_conversion c = {.source = source, .weight = weight};
    const slip_st_tensor *first;
    if (slip_convert_qkv_is_apart(source, weight))
        return slip_convert_qkv_plan(source, weight, conversion);
    slip_status status = slip_conversion_take(source, weight, 0, "", NULL, 0, &first);
    if (status == SLIP_OK)
        status = choose_type(&c, first, round_experts);
    if (status != SLIP_OK)
        return status;
    slip_layout_datasets(weight, c.to, &c.codes, &c.scales);
    for (int64_t expert = 0; expert < weight->experts && status == SLIP_OK; expert++)
        status = check_expert(&c, expert);
    if (status == SLIP_OK)
        *conversion = c;
    return status;
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

static slip_status no_memory(const slip_conversion *c)
{
    return slip_fail(SLIP_ERR_FAILED, "%s: no memory to convert /%s", c->source->path, c->weight->name);
}

/* A block whose scale is 0 holds nothing, or has lost what it held. `expert`'s codes and scales, as the source has them. */
static slip_status check_blocks(const slip_conversion *c, int64_t expert, const void *codes, const void *scales)
{
    int64_t across = slip_f8_blocks(c->weight->columns);
    int64_t lost = slip_values_find_lost_block(codes, c->weight->chunks, c->weight->rows / c->weight->chunks, c->weight->columns, scales);
    char of[40] = "";
    if (lost < 0)
        return SLIP_OK;
    if (c->weight->row->kind == SLIP_KIND_EXPERTS)
        snprintf(of, sizeof of, " of expert %lld", (long long)expert);
    return slip_fail(SLIP_ERR_INPUT, "%s: /%s%s: its scale at [%lld, %lld] is 0, but the codes of that block are not", c->source->path,
                     c->weight->name, of, (long long)(lost / across), (long long)(lost % across));
}

/* Codes times the scale of their block of 128 rows and columns, in f32. */
static slip_status widen_f8(const slip_conversion *c, int64_t expert, const uint8_t *codes, float *out)
{
    slip_dataset shape = source_scales(c);
    int64_t rows = c->weight->rows, columns = c->weight->columns, blocks = shape.shape[shape.dims - 1];
    const slip_st_tensor *tensor;
    float value[256], *scales = malloc((size_t)(shape.bytes / c->weight->experts) + 1);
    slip_status status = scales != NULL ? slip_conversion_take(c->source, c->weight, expert, scale_suffix(c), NULL, 0, &tensor)
                                        : no_memory(c);
    if (status == SLIP_OK)
        status = slip_conversion_read(c->source, tensor, SLIP_READ_F8_SCALES, scales);
    if (status == SLIP_OK)
        status = check_blocks(c, expert, codes, scales);
    for (int code = 0; code < 256; code++)
        value[code] = slip_e4m3_to_f32((uint8_t)code);
    for (int64_t row = 0; row < rows && status == SLIP_OK; row++)
        for (int64_t column = 0; column < columns; column++)
            out[row * columns + column] = value[codes[row * columns + column]] *
                                          scales[row / SLIP_F8_BLOCK * blocks + column / SLIP_F8_BLOCK];
    free(scales);
    return status;
}

static slip_status round_rows(const slip_conversion *c, const slip_st_tensor *tensor, const float *values, char *codes, char *scales,
                              slip_rounding *rounding)
{
    int64_t rows = c->weight->rows, columns = c->weight->columns;
    for (int64_t row = 0; row < rows; row++)
        if (!slip_mxfp4_round_row(values + row * columns, columns, (uint8_t *)codes + row * (columns / 2),
                                  (uint8_t *)scales + row * (columns / SLIP_MXFP4_BLOCK)))
            return refuse(c->source, tensor, "a value times its scale is not finite");
    slip_rounding_add(rounding, values, rows, columns, (const uint8_t *)codes, (const uint8_t *)scales);
    return SLIP_OK;
}

/* Through f32: to f32 where the source is narrower than what is stored, or rounded to MXFP4. */
static slip_status convert_values(const slip_conversion *c, const slip_st_tensor *tensor, int64_t expert, char *codes, char *scales,
                                  slip_rounding *rounding)
{
    int64_t count = c->weight->rows * c->weight->columns;
    void *raw = malloc((size_t)tensor->bytes);
    float *values = malloc((size_t)count * sizeof *values);
    slip_status status = raw != NULL && values != NULL ? slip_conversion_read(c->source, tensor, SLIP_READ_VALUES, raw) : no_memory(c);
    if (status == SLIP_OK && c->from == SLIP_ST_F8E4M3)
        status = widen_f8(c, expert, raw, values);
    else if (status == SLIP_OK)
        widen(c->from, raw, count, values);
    if (status == SLIP_OK && c->to == SLIP_F32)
        memcpy(codes, values, (size_t)count * sizeof *values);
    else if (status == SLIP_OK)
        status = round_rows(c, tensor, values, codes, scales, rounding);
    free(values);
    free(raw);
    return status;
}

static slip_status convert_expert(const slip_conversion *c, int64_t expert, char *codes, char *scales, slip_rounding *rounding)
{
    const slip_st_tensor *tensor;
    slip_status status = slip_conversion_take(c->source, c->weight, expert, "", NULL, 0, &tensor);
    if (status != SLIP_OK || !is_kept(c))
        return status == SLIP_OK ? convert_values(c, tensor, expert, codes, scales, rounding) : status;
    status = slip_conversion_read(c->source, tensor, SLIP_READ_VALUES, codes);
    if (status == SLIP_OK && c->scales.bytes > 0)
        status = slip_conversion_take(c->source, c->weight, expert, scale_suffix(c), NULL, 0, &tensor);
    if (status == SLIP_OK && c->scales.bytes > 0)
        status = slip_conversion_read(c->source, tensor, c->to == SLIP_MXFP4 ? SLIP_READ_E8M0 : SLIP_READ_F8_SCALES, scales);
    if (status == SLIP_OK && c->to == SLIP_F8E4M3)
        status = check_blocks(c, expert, codes, scales);
    return status;
}

static slip_status convert_all(const slip_conversion *c, char *codes, char *scales, slip_rounding *rounding)
{
    slip_status status = c->to == SLIP_MXFP4 && !is_kept(c) ? slip_rounding_begin(rounding, c->weight->name) : SLIP_OK;
    if (c->joined) {
        status = slip_convert_qkv_join(c, codes, scales);
        return status == SLIP_OK ? check_blocks(c, 0, codes, scales) : status;
    }
    for (int64_t expert = 0; expert < c->weight->experts && status == SLIP_OK; expert++)
        status = convert_expert(c, expert, codes + expert * (c->codes.bytes / c->weight->experts),
                                scales + expert * (c->scales.bytes / c->weight->experts), rounding);
    return status;
}

slip_status slip_conversion_write(const slip_conversion *conversion, slip_checkpoint_writer *writer, slip_rounding *rounding)
{
    const slip_conversion *c = conversion;
    char *codes = malloc((size_t)c->codes.bytes), *scales = malloc((size_t)c->scales.bytes + 1);
    slip_status status = codes != NULL && scales != NULL ? convert_all(c, codes, scales, rounding) : no_memory(c);
    if (status == SLIP_OK)
        status = slip_checkpoint_add(writer, &c->codes, codes);
    if (status == SLIP_OK && c->scales.bytes > 0)
        status = slip_checkpoint_add(writer, &c->scales, scales);
    free(scales);
    free(codes);
    return status;
}
