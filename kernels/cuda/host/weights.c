/* Tensors to the device: packed from the checkpoint's form, or random. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"
#include "kernels/cuda/layout/pack.h"
#include "kernels/cuda/host/random.h"
#include "kernels/cuda/host/state.h"

static slip_status plan_matrix(slip_executor *executor, int32_t index, slip_dtype dtype, int64_t experts, int64_t skew)
{
    const slip_tensor *tensor = &executor->program->tensors[index];
    slip_cuda_matrix *matrix = &executor->tensors[index].matrix;
    void *device;
    slip_status status = slip_cuda_matrix_plan(dtype, experts, tensor->rows, tensor->columns.count, skew, executor->use[index], matrix);
    if (status == SLIP_OK)
        status = slip_cuda_engine_alloc(executor->engine, (size_t)slip_cuda_matrix_bytes(matrix, experts), &device);
    if (status == SLIP_OK)
        matrix->data = device;
    return status;
}

static int64_t experts_of(const slip_tensor *tensor)
{
    return tensor->experts.first < 0 ? 1 : tensor->experts.count;
}

static slip_status load_matrix(slip_executor *executor, int32_t index, const slip_weight *weight)
{
    slip_cuda_matrix *matrix = &executor->tensors[index].matrix;
    slip_status status = plan_matrix(executor, index, weight->dtype, weight->experts, weight->scale_skew);
    if (status != SLIP_OK)
        return status;
    unsigned char *packed = malloc((size_t)matrix->expert_bytes + 1);
    if (!packed)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a weight of %lld bytes", (long long)matrix->expert_bytes);
    for (int64_t e = 0; e < weight->experts && status == SLIP_OK; e++) {
        slip_cuda_matrix_pack(weight, e, matrix, packed);
        status = slip_cuda_engine_upload(executor->engine, matrix->data + e * matrix->expert_bytes, packed, (size_t)matrix->expert_bytes);
    }
    free(packed);
    return status;
}

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

/* Rows of floats, one after the other. */
static slip_status load_floats(slip_executor *executor, const slip_weight *weight, void **device)
{
    size_t count = (size_t)(weight->rows * weight->columns);
    float *values = malloc(count * sizeof *values + 1);
    if (!values)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a weight of %zu values", count);
    for (int64_t row = 0; row < weight->rows; row++)
        for (int64_t column = 0; column < weight->columns; column++)
            values[row * weight->columns + column] = element(weight, row, column);
    slip_status status = slip_cuda_engine_alloc(executor->engine, count * sizeof *values, device);
    if (status == SLIP_OK)
        status = slip_cuda_engine_upload(executor->engine, *device, values, count * sizeof *values);
    free(values);
    return status;
}

static slip_status load_table(slip_executor *executor, slip_cuda_tensor *tensor, const slip_weight *weight)
{
    void *device;
    size_t bytes = (size_t)weight->rows * weight->row_bytes;
    tensor->table_f32 = weight->dtype != SLIP_BF16;
    slip_status status = tensor->table_f32 ? load_floats(executor, weight, &device)
                                           : slip_cuda_engine_alloc(executor->engine, bytes, &device);
    if (status == SLIP_OK && !tensor->table_f32)
        status = slip_cuda_engine_upload(executor->engine, device, weight->data, bytes);
    if (status == SLIP_OK)
        tensor->table = device;
    return status;
}

slip_status slip_cuda_load(slip_executor *executor, int32_t index, const slip_weight *weight)
{
    void *device;
    slip_cuda_tensor *tensor = &executor->tensors[index];
    if (executor->is_table[index])
        return load_table(executor, tensor, weight);
    if (!executor->program->tensors[index].vector)
        return load_matrix(executor, index, weight);
    slip_status status = load_floats(executor, weight, &device);
    if (status == SLIP_OK)
        tensor->vector = device;
    return status;
}

/* ---- random ---- */

static const slip_random_look *look_of(const slip_executor *executor, int32_t index)
{
    const slip_program *program = executor->program;
    return &program->parts[program->tensors[index].first_part].weight.row->random;
}

static slip_status fill_vector(slip_executor *executor, int32_t index, uint64_t seed)
{
    const slip_tensor *tensor = &executor->program->tensors[index];
    const slip_random_look *look = look_of(executor, index);
    void *device;
    slip_status status = slip_cuda_engine_alloc(executor->engine, (size_t)tensor->columns.count * sizeof(float), &device);
    if (status == SLIP_OK)
        status = slip_cuda_random_vector(device, tensor->columns.count, seed, look->mean, look->size);
    if (status == SLIP_OK)
        executor->tensors[index].vector = device;
    return status;
}

static slip_status fill_table(slip_executor *executor, int32_t index, uint64_t seed)
{
    const slip_tensor *tensor = &executor->program->tensors[index];
    int64_t count = tensor->rows * tensor->columns.count;
    void *device;
    slip_status status = slip_cuda_engine_alloc(executor->engine, (size_t)count * sizeof(uint16_t), &device);
    if (status == SLIP_OK)
        status = slip_cuda_random_rows(device, count, seed, look_of(executor, index)->size);
    if (status == SLIP_OK)
        executor->tensors[index].table = device;
    return status;
}

static float matrix_size(const slip_executor *executor, int32_t index)
{
    const slip_tensor *tensor = &executor->program->tensors[index];
    return look_of(executor, index)->size / sqrtf((float)(tensor->columns.count ? tensor->columns.count : 1));
}

slip_status slip_cuda_fill(slip_executor *executor, int32_t index, slip_dtype dtype, uint64_t seed)
{
    const slip_tensor *tensor = &executor->program->tensors[index];
    if (executor->is_table[index])
        return fill_table(executor, index, seed);
    if (tensor->vector)
        return fill_vector(executor, index, seed);
    slip_status status = plan_matrix(executor, index, dtype, experts_of(tensor), 0);
    if (status == SLIP_OK)
        status = slip_cuda_random(&executor->tensors[index].matrix, experts_of(tensor), seed, matrix_size(executor, index));
    return status;
}
