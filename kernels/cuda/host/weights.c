/* Tensors to the device: packed from the checkpoint's form, piece by piece, or random. Only packing happens outside of the main thread. */
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

/* What is not a matrix lies on the device as rows of floats, or of bf16 as they are. */
static bool is_matrix(const slip_executor *executor, int32_t index)
{
    return !executor->is_table[index] && !executor->program->tensors[index].vector;
}

static bool is_bf16(const slip_executor *executor, int32_t index)
{
    return executor->is_table[index] && !executor->tensors[index].table_f32;
}

size_t slip_cuda_packed_bytes(const slip_executor *executor, int32_t index)
{
    const slip_tensor *tensor = &executor->program->tensors[index];
    if (is_matrix(executor, index))
        return (size_t)executor->tensors[index].matrix.expert_bytes;
    return (size_t)(tensor->rows * tensor->columns.count) * (is_bf16(executor, index) ? sizeof(uint16_t) : sizeof(float));
}

slip_status slip_cuda_place(slip_executor *executor, int32_t index, const slip_weight *form)
{
    void *device;
    slip_cuda_tensor *tensor = &executor->tensors[index];
    if (is_matrix(executor, index))
        return plan_matrix(executor, index, form->dtype, form->experts, form->scale_skew);
    tensor->table_f32 = form->dtype != SLIP_BF16;
    slip_status status = slip_cuda_engine_alloc(executor->engine, slip_cuda_packed_bytes(executor, index), &device);
    if (status == SLIP_OK && executor->is_table[index])
        tensor->table = device;
    else if (status == SLIP_OK)
        tensor->vector = device;
    return status;
}

void slip_cuda_pack(slip_executor *executor, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed)
{
    (void)to;
    if (is_matrix(executor, index)) {
        slip_cuda_matrix_pack(piece, from, &executor->tensors[index].matrix, packed);
        return;
    }
    if (is_bf16(executor, index)) {
        memcpy(packed, piece->data, (size_t)piece->rows * piece->row_bytes);
        return;
    }
    float *values = (float *)packed;
    for (int64_t row = 0; row < piece->rows; row++)
        for (int64_t column = 0; column < piece->columns; column++)
            *values++ = element(piece, row, column);
}

/* Where a tensor lies on the device: its experts one behind the other. */
static unsigned char *device_of(const slip_executor *executor, int32_t index)
{
    const slip_cuda_tensor *tensor = &executor->tensors[index];
    return is_matrix(executor, index) ? tensor->matrix.data : (unsigned char *)(executor->is_table[index] ? tensor->table : tensor->vector);
}

slip_status slip_cuda_store(slip_executor *executor, int32_t index, int64_t first, int64_t count, const unsigned char *packed)
{
    size_t bytes = slip_cuda_packed_bytes(executor, index);
    return slip_cuda_engine_upload(executor->engine, device_of(executor, index) + (size_t)first * bytes, packed, (size_t)count * bytes);
}

slip_status slip_cuda_alloc_packed(slip_executor *executor, size_t bytes, unsigned char **packed)
{
    return slip_cuda_engine_alloc_pinned(executor->engine, bytes, packed);
}

void slip_cuda_free_packed(slip_executor *executor, unsigned char *packed)
{
    slip_cuda_engine_free_pinned(executor->engine, packed);
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
