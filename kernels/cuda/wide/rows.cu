/* Launches of the ops of wide steps that have no weights but vectors. */
#include "kernels/cuda/wide/rows.cuh"
#include "kernels/cuda/wide/topk.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

bool wide_rows_takes(const slip_cuda_op &host)
{
    switch (host.kind) {
    case SLIP_CUDA_REDUCE_NORM: return !host.reduce_norm.exchange; // which wants all CTAs of the op to be there
    case SLIP_CUDA_GATHER:
    case SLIP_CUDA_QUANTISE: return true;
    case SLIP_CUDA_TOPK: return wide_topk_takes(host.topk);
    default: return false;
    }
}

cudaError_t wide_rows_enqueue(const wide_step &s, const slip_cuda_op &host, int op, bool kernel_before)
{
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (host.kind == SLIP_CUDA_TOPK)
        return launch_behind((const void *)wide_topk, s.sms * WIDE_TOPK_CTAS, WIDE_TOPK_THREADS, 0, s.stream, arguments, kernel_before);
    const void *kernel = host.kind == SLIP_CUDA_GATHER     ? (const void *)wide_gather
                         : host.kind == SLIP_CUDA_QUANTISE ? (const void *)wide_quantise
                                                           : (const void *)wide_reduce_norm;
    return launch_behind(kernel, s.sms * WIDE_ROWS_CTAS, WIDE_ROWS_THREADS, 0, s.stream, arguments, kernel_before);
}

} // namespace slip
