/* Ops of steps whose products add up all chunks of a sum themselves and leave one part. */
#include "kernels/cuda/lower/lower.h"

#define READS(arguments, sums) \
    static slip_cuda_partial *read_by_##arguments(slip_cuda_##arguments *of) \
    { \
        return &of->sums; \
    }
#define REST(arguments) \
    static slip_cuda_partial *read_by_##arguments(slip_cuda_##arguments *of) \
    { \
        (void)of; \
        return NULL; \
    }
SLIP_CUDA_ARGUMENTS_TABLE(READS, REST)
#undef REST
#undef READS

/* The sums of products that an op reads; NULL: none. */
static slip_cuda_partial *read_by(slip_cuda_op *op)
{
    switch ((slip_cuda_op_kind)op->kind) {
#define CASE(KIND, arguments, ...) \
    case SLIP_CUDA_##KIND: return read_by_##arguments(&op->arguments);
        SLIP_CUDA_OP_TABLE(CASE, CASE) // NOLINT(bugprone-branch-clone): a row of the table each
#undef CASE
    case SLIP_CUDA_OPS: break;
    }
    return NULL;
}

slip_cuda_op slip_cuda_whole(slip_cuda_op op)
{
    const bool gathered = op.kind == SLIP_CUDA_REDUCE_NORM && op.reduce_norm.gathered; /* then its parts are ranks */
    slip_cuda_partial *read = gathered ? NULL : read_by(&op);
    if (read && read->parts > 0)
        read->parts = 1;
    if (slip_cuda_is_product(op.kind) && !op.product.counted)
        op.product.out.parts = 1;
    return op;
}
