#include "kernels/cuda/layout/weights.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/hash/hash.h"
#include "ranks/model/dtype.h"
#include "ranks/model/mxfp4.h"

/* ---- what they are for ---- */

static void note_uses(slip_cuda_weights *weights)
{
    for (int32_t i = 0; i < weights->program->op_count; i++) {
        const slip_op *op = &weights->program->ops[i];
        if (op->kind == SLIP_OP_EMBED)
            weights->is_table[op->weight[0]] = true;
        if (op->kind != SLIP_OP_EXPERTS)
            continue;
        weights->use[op->weight[0]] = SLIP_USE_GATE_UP;
        weights->use[op->weight[1]] = SLIP_USE_DOWN;
    }
    const slip_walk *walk = &weights->program->walk;
    if (walk->slots > 0 && walk->previous != SLIP_NO_WEIGHT)
        weights->is_table[walk->previous] = weights->is_table[walk->following] = true;
}

slip_status slip_cuda_weights_make(const slip_program *program, slip_cuda_weights *weights)
{
    size_t count = (size_t)program->tensor_count + 1;
    *weights = (slip_cuda_weights){
        .program = program,
        .tensors = calloc(count, sizeof *weights->tensors),
        .is_table = calloc(count, sizeof *weights->is_table),
        .use = calloc(count, sizeof *weights->use),
    };
    if (!weights->tensors || !weights->is_table || !weights->use)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    note_uses(weights);
    return SLIP_OK;
}

void slip_cuda_weights_free(slip_cuda_weights *weights)
{
    free(weights->tensors);
    free(weights->is_table);
    free(weights->use);
    *weights = (slip_cuda_weights){0};
}

bool slip_cuda_weights_is_matrix(const slip_cuda_weights *weights, int32_t index)
{
    return !weights->is_table[index] && !weights->program->tensors[index].vector;
}

static bool is_bf16(const slip_cuda_weights *weights, int32_t index)
{
    return weights->is_table[index] && !weights->tensors[index].table_f32;
}

slip_status slip_cuda_weights_plan(slip_cuda_weights *weights, int32_t index, const slip_weight *form)
{
    slip_cuda_tensor *tensor = &weights->tensors[index];
    if (slip_cuda_weights_is_matrix(weights, index))
        return slip_cuda_matrix_plan(form->dtype, form->experts, form->rows, form->columns, form->scale_skew, weights->use[index],
                                     &tensor->matrix);
    tensor->table_f32 = form->dtype != SLIP_BF16;
    return SLIP_OK;
}

/* A matrix's cut, of so many of its rows. */
static slip_cuda_matrix cut_of(const slip_cuda_weights *weights, int32_t index, int64_t rows)
{
    slip_cuda_matrix cut = weights->tensors[index].matrix;
    cut.rows = (int32_t)rows;
    cut.row_tiles = (int32_t)((rows + SLIP_TILE_ROWS - 1) / SLIP_TILE_ROWS);
    cut.expert_bytes = (int64_t)cut.row_tiles * cut.column_tiles * slip_tile_bytes(cut.format);
    return cut;
}

size_t slip_cuda_weights_bytes(const slip_cuda_weights *weights, int32_t index, int64_t rows)
{
    const slip_tensor *tensor = &weights->program->tensors[index];
    if (slip_cuda_weights_is_matrix(weights, index))
        return (size_t)cut_of(weights, index, rows).expert_bytes;
    return (size_t)(rows * tensor->columns.count) * (is_bf16(weights, index) ? sizeof(uint16_t) : sizeof(float));
}

/* ---- packing ---- */

/* Any element of a weight that is used one by one: vectors, and embeddings in other encodings than bf16 and f32. */
static float element(const slip_weight *weight, int64_t row, int64_t column)
{
    const unsigned char *data = weight->data + (size_t)row * weight->row_bytes;
    float value, scale;
    uint16_t half;
    switch (weight->dtype) {
    case SLIP_F32: memcpy(&value, data + 4 * column, sizeof value); return value;
    case SLIP_BF16: memcpy(&half, data + 2 * column, sizeof half); return slip_bf16_to_f32(half);
    case SLIP_F8E4M3:
        memcpy(&scale, weight->scale + 4 * (row * weight->scale_columns + (weight->scale_skew + column) / SLIP_F8_BLOCK), sizeof scale);
        return slip_e4m3_to_f32(data[column]) * scale;
    default:
        return slip_e2m1_to_f32((uint8_t)(data[column / 2] >> (column % 2 * 4) & 15)) *
               slip_e8m0_to_f32(weight->scale[row * weight->scale_columns + column / SLIP_MXFP4_BLOCK]);
    }
}

void slip_cuda_weights_pack(const slip_cuda_weights *weights, int32_t index, const slip_weight *piece, int64_t from, unsigned char *packed)
{
    if (slip_cuda_weights_is_matrix(weights, index)) {
        slip_cuda_matrix cut = cut_of(weights, index, piece->rows);
        slip_cuda_matrix_pack(piece, from, &cut, packed);
        return;
    }
    if (is_bf16(weights, index)) {
        memcpy(packed, piece->data, (size_t)piece->rows * piece->row_bytes);
        return;
    }
    float *values = (float *)packed;
    for (int64_t row = 0; row < piece->rows; row++)
        for (int64_t column = 0; column < piece->columns; column++)
            *values++ = element(piece, row, column);
}

slip_status slip_cuda_weights_send_rows(const slip_cuda_weights *weights, int32_t index, int64_t first, int64_t rows,
                                        const unsigned char *packed, slip_cuda_send *send, void *context)
{
    const slip_cuda_matrix *whole = &weights->tensors[index].matrix, cut = cut_of(weights, index, rows);
    if (!slip_cuda_weights_is_matrix(weights, index))
        return send(context, index, (int64_t)slip_cuda_weights_bytes(weights, index, first),
                    (int64_t)slip_cuda_weights_bytes(weights, index, rows), packed);
    slip_status status = SLIP_OK;
    for (int32_t chunk = 0; chunk < whole->chunks && status == SLIP_OK; chunk++) {
        int64_t tile = slip_tile_bytes(whole->format), bytes = (int64_t)cut.row_tiles * slip_chunk_length(whole, chunk) * tile;
        status = send(context, index, slip_tiles_before(whole, chunk, (int32_t)(first / SLIP_TILE_ROWS)) * tile, bytes, packed);
        packed += bytes;
    }
    return status;
}

/* ---- the order in one word ---- */

enum { SAMPLE_ROWS = SLIP_TILE_ROWS + 16, SAMPLE_COLUMNS = 320 }; /* more than a tile of every format, either way */

/* A sample's packed bytes: each byte differs from its neighbours, so where it goes decides what comes out. */
static slip_status hash_sample(slip_dtype dtype, unsigned char *data, unsigned char *scale, uint64_t *hash)
{
    slip_weight weight = {
        .dtype = dtype,
        .experts = 1,
        .rows = SAMPLE_ROWS,
        .columns = SAMPLE_COLUMNS,
        .row_bytes = (size_t)slip_dtype_row_bytes(dtype, SAMPLE_COLUMNS),
        .data = data,
        .scale = scale,
        .scale_columns = dtype == SLIP_MXFP4 ? SAMPLE_COLUMNS / SLIP_MXFP4_BLOCK : slip_f8_blocks(SAMPLE_COLUMNS),
    };
    slip_cuda_matrix matrix;
    slip_status status = slip_cuda_matrix_plan(dtype, 1, SAMPLE_ROWS, SAMPLE_COLUMNS, 0, SLIP_USE_LINEAR, &matrix);
    unsigned char *packed = status == SLIP_OK ? malloc((size_t)matrix.expert_bytes) : NULL;
    if (status == SLIP_OK && !packed)
        status = slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK) {
        slip_cuda_matrix_pack(&weight, 0, &matrix, packed);
        *hash = slip_hash_field(*hash, packed, (size_t)matrix.expert_bytes);
    }
    free(packed);
    return status;
}

static slip_status hash_samples(uint64_t *hash)
{
    size_t bytes = (size_t)SAMPLE_ROWS * SAMPLE_COLUMNS * sizeof(float);
    unsigned char *data = malloc(bytes), *scale = malloc(bytes);
    slip_status status = data && scale ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (uint32_t i = 0; status == SLIP_OK && i < bytes; i++) {
        uint32_t mixed = i * UINT32_C(2654435761) >> 24;
        data[i] = (unsigned char)(i % 4 == 3 ? mixed & 63 : mixed); /* as floats they are finite */
        scale[i] = (unsigned char)(mixed ^ i);
    }
    for (int dtype = 0; dtype < SLIP_DTYPES && status == SLIP_OK; dtype++)
        status = hash_sample((slip_dtype)dtype, data, scale, hash);
    free(data);
    free(scale);
    return status;
}

slip_status slip_cuda_weights_layout(const slip_cuda_weights *weights, uint64_t *layout)
{
    uint64_t hash = SLIP_HASH_START;
    slip_status status = hash_samples(&hash);
    for (int32_t i = 0; i < weights->program->tensor_count; i++) {
        const slip_cuda_matrix *m = &weights->tensors[i].matrix;
        const slip_tensor *tensor = &weights->program->tensors[i];
        int64_t cut[] = {slip_cuda_weights_is_matrix(weights, i),
                         is_bf16(weights, i),
                         m->format,
                         m->chunk,
                         m->expert_bytes,
                         tensor->rows,
                         tensor->columns.count};
        hash = slip_hash_field(hash, cut, sizeof cut);
    }
    *layout = hash;
    return status;
}
