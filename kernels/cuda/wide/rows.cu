/* Launches of the ops of wide steps that have no weights but vectors. */
#include "kernels/cuda/wide/shares.cuh"
#include "kernels/cuda/wide/topk.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

bool wide_rows_takes(const slip_cuda_op &host)
{
    switch (host.kind) {
    case SLIP_CUDA_REDUCE_NORM:
    case SLIP_CUDA_GATHER:
    case SLIP_CUDA_QUANTISE: return true;
    case SLIP_CUDA_TOPK: return wide_topk_takes(host.topk);
    default: return false;
    }
}

// Rank 0 among absent peers, whose arenas are one of this GPU.
static wide_ranks absent_ranks(const wide_step &s, const slip_cuda_reduce_norm &op)
{
    wide_ranks ranks = *s.ranks;
    ranks.exchange = slip_exchange{slip_exchange_plan(op.peers + 1, 1, op.hidden, 0, 0, SLIP_MAX_ROWS), 0, {}};
    for (int rank = 0; rank <= op.peers; rank++)
        ranks.exchange.peer[rank] = op.stand_in;
    return ranks;
}

static cudaError_t enqueue_share(const wide_step &s, const slip_cuda_reduce_norm &host, int op, bool kernel_before)
{
    wide_ranks ranks = host.peers ? absent_ranks(s, host) : *s.ranks;
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op, &ranks};
    return launch_behind(host.peers ? (const void *)wide_share<true> : (const void *)wide_share<false>, s.sms * SHARE_CTAS,
                         WIDE_ROWS_THREADS, 0, s.stream, arguments, kernel_before);
}

cudaError_t wide_rows_enqueue(const wide_step &s, const slip_cuda_op &host, int op, bool kernel_before)
{
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (host.kind == SLIP_CUDA_REDUCE_NORM && (host.reduce_norm.exchange || host.reduce_norm.peers))
        return enqueue_share(s, host.reduce_norm, op, kernel_before);
    if (host.kind == SLIP_CUDA_TOPK)
        return launch_behind((const void *)wide_topk, s.sms * WIDE_TOPK_CTAS, WIDE_TOPK_THREADS, 0, s.stream, arguments, kernel_before);
    const void *kernel = host.kind == SLIP_CUDA_GATHER     ? (const void *)wide_gather
                         : host.kind == SLIP_CUDA_QUANTISE ? (const void *)wide_quantise
                                                           : (const void *)wide_reduce_norm;
    return launch_behind(kernel, s.sms * WIDE_ROWS_CTAS, WIDE_ROWS_THREADS, 0, s.stream, arguments, kernel_before);
}

} // namespace slip
