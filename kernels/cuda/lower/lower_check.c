/* What the engine refuses, checked before anything is allocated. */
#include "kernels/cuda/layout/attend_size.h"
#include "kernels/cuda/lower/lower_state.h"
#include "kernels/cuda/layout/pack.h"

static slip_status check_experts(const slip_cuda_source *source, const slip_op *op)
{
    const slip_cuda_matrix *up = &source->tensors[op->weight[0]].matrix, *down = &source->tensors[op->weight[1]].matrix;
    if (up->rows % 8 != 0) /* gate | up */
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: %d intermediate columns of an expert are not a multiple of 4", up->rows / 2);
    if (slip_cuda_matrix_row_bytes(up) + up->columns / SLIP_F8_BLOCK * SLIP_TOKENS * 4 > SLIP_CUDA_ARENA ||
        slip_cuda_matrix_row_bytes(down) + down->columns / SLIP_F8_BLOCK * SLIP_TOKENS * 4 > SLIP_CUDA_ARENA)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: experts of %d x %d columns in this encoding do not fit the shared memory of an SM",
                         up->columns, down->columns);
    return SLIP_OK;
}

static slip_status check_route(const slip_cuda_source *source, const slip_op *op)
{
    const slip_program *program = source->program;
    const slip_cuda_matrix *router = &source->tensors[op->weight[0]].matrix;
    if (router->chunks > SLIP_COUNTED_TERMS)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: a router of %d columns makes %d partial sums, and at most %d are counted",
                         router->columns, router->chunks, SLIP_COUNTED_TERMS);
    if (program->scoring != SLIP_SCORING_SIGMOID)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: a router that scores by softmax is not supported; --device cpu has it");
    if (op->weight[1] == SLIP_NO_WEIGHT)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: a router without a bias is not supported; --device cpu has it");
    return SLIP_OK;
}

/* Units are dealt out to warpgroups in 32 bits. A matrix is cut for SLIP_ARCH_SMS: with fewer, an SM's units may touch more columns. */
static slip_status check_matrix(const slip_cuda_source *source, int32_t tensor)
{
    const slip_cuda_matrix *m = &source->tensors[tensor].matrix;
    bool stacked = source->program->tensors[tensor].experts.first >= 0;
    if ((stacked ? SLIP_LIST_MAX : 1) * (int64_t)m->units > UINT32_MAX / (SLIP_SHARE * (SLIP_ARCH_WARPGROUPS * source->sms + 1)))
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: a matrix of %d x %d is too large", m->rows, m->columns);
    if (!stacked && slip_cuda_matrix_arena(m, source->sms) > SLIP_OPERAND_BYTES)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: a matrix of %d x %d is too wide for a GPU of %d SMs", m->rows, m->columns,
                         source->sms);
    return SLIP_OK;
}

static slip_status check_walk(const slip_cuda_source *source)
{
    const slip_walk *walk = &source->program->walk;
    if (walk->slots > 0 && walk->previous != SLIP_NO_WEIGHT &&
        (source->tensors[walk->previous].table_f32 || source->tensors[walk->following].table_f32))
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: an in-block head in f32 is not supported; --device cpu has it");
    return SLIP_OK;
}

slip_status slip_lower_check(const slip_cuda_source *source)
{
    const slip_program *program = source->program;
    if (check_walk(source) != SLIP_OK)
        return SLIP_ERR_INPUT;
    if (program->width[SLIP_BUFFER_X] % 4 != 0)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: hidden size %lld is not a multiple of 4",
                         (long long)program->width[SLIP_BUFFER_X]);
    if (source->taps.width % 4 != 0)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: taps of %d columns are not a multiple of 4", source->taps.width);
    for (int32_t i = 0; i < program->cache_count; i++) { /* heads of all rows are dealt out by divisions of 20 bits (small_quotient) */
        const slip_cache *shape = &program->cache[i];
        if ((int64_t)source->limits->rows * (shape->q_heads + 2 * shape->kv_heads) >= 1 << 19)
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: %d query and %d K/V heads in layer %d are too many for steps of %d rows",
                             shape->q_heads, shape->kv_heads, i, source->limits->rows);
    }
    for (int32_t i = 0; i < program->cache_count; i++)
        if (!slip_attend_fits(&source->caches[i]))
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: heads of %d and %d dimensions in layer %d are not supported",
                             source->caches[i].shape.head_dim, source->caches[i].shape.v_head_dim, i);
    for (int32_t i = 0; i < program->tensor_count; i++) {
        slip_status status = check_matrix(source, i);
        if (status != SLIP_OK)
            return status;
    }
    for (int32_t i = 0; i < program->op_count; i++) {
        const slip_op *op = &program->ops[i];
        if (op->kind == SLIP_OP_SWIGLU && op->column % 4 != 0)
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: %d intermediate columns are not a multiple of 4", op->column);
        slip_status status = op->kind == SLIP_OP_EXPERTS ? check_experts(source, op)
                             : op->kind == SLIP_OP_ROUTE ? check_route(source, op)
                                                         : SLIP_OK;
        if (status != SLIP_OK)
            return status;
    }
    return SLIP_OK;
}
