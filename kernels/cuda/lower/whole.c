/* Ops of steps whose products add up all chunks of a sum themselves and leave one part. */
#include "kernels/cuda/lower/lower.h"

slip_cuda_op slip_cuda_whole(slip_cuda_op op)
{
    switch ((slip_cuda_op_kind)op.kind) {
    case SLIP_CUDA_LINEAR:
        if (!op.product.counted)
            op.product.out.parts = 1;
        break;
    case SLIP_CUDA_MOE_GATE_UP: op.product.out.parts = 1; break;
    case SLIP_CUDA_MOE_DOWN: op.product.in.parts = op.product.out.parts = 1; break;
    case SLIP_CUDA_GATHER: op.gather.terms.in.parts = 1; break;
    case SLIP_CUDA_REDUCE_NORM:
        if (!op.reduce_norm.gathered) /* else its parts are ranks */
            op.reduce_norm.terms.in.parts = 1;
        break;
    case SLIP_CUDA_ROPE: op.rope.in.parts = 1; break;
    case SLIP_CUDA_ATTEND_WINDOW: op.attend_window.in.parts = 1; break;
    case SLIP_CUDA_SWIGLU: op.swiglu.in.parts = 1; break;
    case SLIP_CUDA_ADJUST:
    case SLIP_CUDA_LIKELIEST:
    case SLIP_CUDA_LIKELIEST_MERGE: op.resample.in.parts = 1; break;
    case SLIP_CUDA_SAMPLE:
    case SLIP_CUDA_HISTOGRAM: op.sample.in.parts = 1; break;
    default: /* reads and writes no sums of products */ break;
    }
    return op;
}
