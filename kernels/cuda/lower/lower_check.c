/* What the engine does not take, said before anything is allocated for it. */
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

slip_status slip_lower_check(const slip_cuda_source *source)
{
    const slip_program *program = source->program;
    if (program->width[SLIP_BUFFER_X] % 4 != 0)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: hidden size %lld is not a multiple of 4", (long long)program->width[SLIP_BUFFER_X]);
    if (source->taps.width % 4 != 0)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: taps of %d columns are not a multiple of 4", source->taps.width);
    for (int32_t i = 0; i < program->cache_count; i++)
        if (!slip_attend_fits(&source->caches[i]))
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: heads of %d and %d dimensions in layer %d are not supported",
                             source->caches[i].shape.head_dim, source->caches[i].shape.v_head_dim, i);
    for (int32_t i = 0; i < program->tensor_count; i++) { /* units are dealt out to warpgroups in 32 bits */
        const slip_cuda_matrix *m = &source->tensors[i].matrix;
        int64_t experts = program->tensors[i].experts.first < 0 ? 1 : SLIP_LIST_MAX;
        if (experts * m->units > UINT32_MAX / (4 * source->sms + 1))
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: a matrix of %d x %d is too large", m->rows, m->columns);
    }
    for (int32_t i = 0; i < program->op_count; i++) {
        const slip_op *op = &program->ops[i];
        if (op->kind == SLIP_OP_SWIGLU && op->column % 4 != 0)
            return slip_fail(SLIP_ERR_INPUT, "--device cuda: %d intermediate columns are not a multiple of 4", op->column);
        if (op->kind != SLIP_OP_EXPERTS)
            continue;
        slip_status status = check_experts(source, op);
        if (status != SLIP_OK)
            return status;
    }
    return SLIP_OK;
}
