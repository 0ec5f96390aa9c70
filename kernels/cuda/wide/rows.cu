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
    case SLIP_CUDA_TOPK: return slip_topk_is_wide(host.topk.experts, host.topk.top_k);
    default: return false;
    }
}

// The ranks there are, or rank 0 among absent peers, whose arenas are one of this GPU.
static wide_ranks ranks_of(const wide_step &s, int peers, int hidden, unsigned char *stand_in)
{
    wide_ranks ranks = *s.ranks;
    if (peers == 0)
        return ranks;
    ranks.exchange = slip_exchange{slip_exchange_plan(peers + 1, 1, hidden, 0, 0, SLIP_MAX_ROWS), 0, {}};
    for (int rank = 0; rank <= peers; rank++)
        ranks.exchange.peer[rank] = stand_in;
    return ranks;
}

static cudaError_t enqueue_share(const wide_step &s, const slip_cuda_reduce_norm &host, int op, bool kernel_before)
{
    wide_ranks ranks = ranks_of(s, host.peers, host.hidden, host.stand_in);
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op, &ranks};
    return launch_behind(host.peers ? (const void *)wide_share<true> : (const void *)wide_share<false>, s.sms * SHARE_CTAS,
                         WIDE_ROWS_THREADS, 0, s.stream, arguments, kernel_before);
}

static cudaError_t enqueue_topk(const wide_step &s, const slip_cuda_topk &host, int op, bool kernel_before)
{
    const void *kernel = host.owned.owners == 1 ? (const void *)wide_topk<TOPK_ALONE>
                         : host.peers           ? (const void *)wide_topk<TOPK_ABSENT>
                                                : (const void *)wide_topk<TOPK_RANKS>;
    wide_ranks ranks = ranks_of(s, host.peers, SLIP_EXCHANGE_COLUMNS, host.stand_in);
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op, &ranks};
    return launch_behind(kernel, s.sms * WIDE_TOPK_CTAS, WIDE_TOPK_THREADS, 0, s.stream, arguments, kernel_before);
}

cudaError_t wide_rows_enqueue(const wide_step &s, const slip_cuda_op &host, int op, bool kernel_before)
{
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (host.kind == SLIP_CUDA_REDUCE_NORM && (host.reduce_norm.exchange || host.reduce_norm.peers))
        return enqueue_share(s, host.reduce_norm, op, kernel_before);
    if (host.kind == SLIP_CUDA_TOPK)
        return enqueue_topk(s, host.topk, op, kernel_before);
    const void *kernel = host.kind == SLIP_CUDA_GATHER     ? (const void *)wide_gather
                         : host.kind == SLIP_CUDA_QUANTISE ? (const void *)wide_quantise
                                                           : (const void *)wide_reduce_norm;
    return launch_behind(kernel, s.sms * WIDE_ROWS_CTAS, WIDE_ROWS_THREADS, 0, s.stream, arguments, kernel_before);
}

} // namespace slip
