/* Tensors to the device: packed from the checkpoint's form, piece by piece, or random. Only packing happens outside of the main thread. */
#include <math.h>

#include "kernels/cuda/host/random.h"
#include "kernels/cuda/host/state.h"

static int64_t experts_of(const slip_tensor *tensor)
{
    return tensor->experts.first < 0 ? 1 : tensor->experts.count;
}

static slip_status alloc_matrix(slip_executor *executor, int32_t index, int64_t experts)
{
    slip_cuda_matrix *matrix = &executor->weights.tensors[index].matrix;
    void *device;
    slip_status status = slip_cuda_engine_alloc(executor->engine, (size_t)slip_cuda_matrix_bytes(matrix, experts), &device);
    if (status == SLIP_OK)
        matrix->data = device;
    return status;
}

size_t slip_cuda_packed_bytes(const slip_executor *executor, int32_t index, int64_t rows)
{
    return slip_cuda_weights_bytes(&executor->weights, index, rows);
}

slip_status slip_cuda_place(slip_executor *executor, int32_t index, const slip_weight *form)
{
    void *device;
    slip_cuda_tensor *tensor = &executor->weights.tensors[index];
    slip_status status = slip_cuda_weights_plan(&executor->weights, index, form);
    if (status != SLIP_OK)
        return status;
    if (slip_cuda_weights_is_matrix(&executor->weights, index))
        return alloc_matrix(executor, index, form->experts);
    status = slip_cuda_engine_alloc(executor->engine, slip_cuda_packed_bytes(executor, index, form->rows), &device);
    if (status == SLIP_OK && executor->weights.is_table[index])
        tensor->table = device;
    else if (status == SLIP_OK)
        tensor->vector = device;
    return status;
}

void slip_cuda_pack(slip_executor *executor, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed)
{
    (void)to;
    slip_cuda_weights_pack(&executor->weights, index, piece, from, packed);
}

slip_status slip_cuda_packed_layout(const slip_executor *executor, uint64_t *layout)
{
    return slip_cuda_weights_layout(&executor->weights, layout);
}

/* Where a tensor lies on the device: its experts one behind the other. */
static unsigned char *device_of(const slip_executor *executor, int32_t index)
{
    const slip_cuda_weights *weights = &executor->weights;
    const slip_cuda_tensor *tensor = &weights->tensors[index];
    return slip_cuda_weights_is_matrix(weights, index) ? tensor->matrix.data
                                                       : (unsigned char *)(weights->is_table[index] ? tensor->table : tensor->vector);
}

slip_status slip_cuda_store(slip_executor *executor, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    return slip_cuda_engine_upload(executor->engine, device_of(executor, index) + first, packed, (size_t)bytes);
}

static slip_status send(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    return slip_cuda_store(context, index, first, bytes, packed);
}

slip_status slip_cuda_store_rows(slip_executor *executor, int32_t index, int64_t first, int64_t rows, const unsigned char *packed)
{
    return slip_cuda_weights_send_rows(&executor->weights, index, first, rows, packed, send, executor);
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
        executor->weights.tensors[index].vector = device;
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
        executor->weights.tensors[index].table = device;
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
    if (executor->weights.is_table[index])
        return fill_table(executor, index, seed);
    if (tensor->vector)
        return fill_vector(executor, index, seed);
    slip_weight form = {.dtype = dtype, .experts = experts_of(tensor), .rows = tensor->rows, .columns = tensor->columns.count};
    slip_status status = slip_cuda_weights_plan(&executor->weights, index, &form);
    if (status == SLIP_OK)
        status = alloc_matrix(executor, index, form.experts);
    if (status == SLIP_OK)
        status = slip_cuda_random(&executor->weights.tensors[index].matrix, experts_of(tensor), seed, matrix_size(executor, index));
    return status;
}
