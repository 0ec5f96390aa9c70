/* The ops of wide steps that have no weights but vectors: those of one rank, and all launches. */
#include "kernels/cuda/wide/shares.cuh"
#include "kernels/cuda/wide/topk.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

// Of a rank that is alone, or of sums that are gathered.
__global__ void __launch_bounds__(WIDE_ROWS_THREADS, WIDE_ROWS_CTAS)
    wide_reduce_norm(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    const slip_cuda_reduce_norm &op = early_ops(ops, number)->reduce_norm;
    const int rows = step->rows;
    await_previous_kernel();
    wide_for_each_quad(rows, op.hidden, [&](const wide_quad &q) {
        wide_sums before, sum;
        wide_load_residual(op, q, before); // under way with the terms
        wide_sum(op.terms, op.gathered, rows, q, sum);
        wide_add_residual(op, before, sum);
        wide_keep(op, step, q, sum);
        wide_write_normed(op, q, sum);
    });
}

// This rank's own sums, for the host to gather.
__global__ void __launch_bounds__(WIDE_ROWS_THREADS, WIDE_ROWS_CTAS)
    wide_gather(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    const slip_cuda_gather &op = early_ops(ops, number)->gather;
    const int hidden = op.out.columns, rows = step->rows;
    await_previous_kernel();
    wide_for_each_quad(rows, hidden, [&](const wide_quad &q) {
        wide_sums sum;
        wide_sum(op.terms, false, rows, q, sum);
#pragma unroll
        for (int r = 0; r < WIDE_ROWS; r++)
            if (q.real && r < q.rows)
                *(float4 *)(op.out.data + (int64_t)(q.row + r) * op.out.stride + q.column) = sum[r];
    });
}

__global__ void __launch_bounds__(WIDE_ROWS_THREADS, WIDE_ROWS_CTAS)
    wide_quantise(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    const slip_cuda_quantise &op = early_ops(ops, number)->quantise;
    const int rows = step->rows;
    await_previous_kernel();
    wide_for_each_quad(rows, op.operand.columns, [&](const wide_quad &q) {
        wide_sums v;
#pragma unroll
        for (int r = 0; r < WIDE_ROWS; r++)
            v[r] = q.real && r < q.rows ? *(const float4 *)(quantised_row(op, *step, q.row + r) + q.column) : zero();
        wide_write_rows(op.operand, false, q, v);
    });
}

__global__ void __launch_bounds__(WIDE_ROWS_THREADS, WIDE_ROWS_CTAS)
    wide_swiglu(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    const slip_cuda_swiglu &op = early_ops(ops, number)->swiglu;
    const int rows = step->rows;
    await_previous_kernel();
    wide_for_each_quad(rows, op.width, [&](const wide_quad &q) {
        wide_sums v;
#pragma unroll
        for (int r = 0; r < WIDE_ROWS; r++)
            v[r] = r < q.rows ? swiglu_at(partial_row(op.in, q.row + r), op.in.parts, slip_partial_step(&op.in), op.width, q.column)
                              : zero();
        wide_write_rows(op.operand, false, q, v);
    });
}

bool wide_rows_takes(const slip_cuda_op &host)
{
    switch (host.kind) {
    case SLIP_CUDA_REDUCE_NORM:
    case SLIP_CUDA_SWIGLU:
    case SLIP_CUDA_GATHER:
    case SLIP_CUDA_QUANTISE: return true;
    case SLIP_CUDA_TOPK: return slip_topk_is_wide(host.topk.experts, host.topk.top_k);
    default: return false;
    }
}

wide_ranks wide_ranks_of(const wide_step &s, int peers, int hidden, unsigned char *stand_in)
{
    wide_ranks ranks = *s.ranks;
    if (peers == 0)
        return ranks;
    ranks.exchange = slip_exchange{slip_exchange_plan(peers + 1, 1, hidden, 0, 0, SLIP_MAX_ROWS), 0, {}};
    for (int rank = 0; rank <= peers; rank++)
        ranks.exchange.peer[rank] = stand_in;
    return ranks;
}

static cudaError_t enqueue_share(const wide_step &s, const slip_cuda_reduce_norm &host, bool may_be_sent, int op, bool kernel_before)
{
    int may = may_be_sent;
    wide_ranks ranks = wide_ranks_of(s, host.peers, host.hidden, host.stand_in);
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op, &ranks, &may};
    return launch_behind(host.peers ? (const void *)wide_share<true> : (const void *)wide_share<false>, s.sms * SHARE_CTAS,
                         WIDE_ROWS_THREADS, 0, s.stream, arguments, kernel_before);
}

static cudaError_t enqueue_topk(const wide_step &s, const slip_cuda_topk &host, int op, bool kernel_before)
{
    const void *kernel = host.owned.owners == 1 ? (const void *)wide_topk<TOPK_ALONE>
                         : host.peers           ? (const void *)wide_topk<TOPK_ABSENT>
                                                : (const void *)wide_topk<TOPK_RANKS>;
    wide_ranks ranks = wide_ranks_of(s, host.peers, SLIP_EXCHANGE_COLUMNS, host.stand_in);
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op, &ranks};
    return launch_behind(kernel, s.sms * WIDE_TOPK_CTAS, WIDE_TOPK_THREADS, 0, s.stream, arguments, kernel_before);
}

cudaError_t wide_rows_enqueue(const wide_step &s, const slip_cuda_op &host, int op, bool kernel_before)
{
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (host.kind == SLIP_CUDA_REDUCE_NORM && (host.reduce_norm.exchange || host.reduce_norm.peers))
        return enqueue_share(s, host.reduce_norm, op > 0 && wide_may_send(s, &host - 1), op, kernel_before);
    if (host.kind == SLIP_CUDA_TOPK)
        return enqueue_topk(s, host.topk, op, kernel_before);
    const void *kernel = host.kind == SLIP_CUDA_GATHER     ? (const void *)wide_gather
                         : host.kind == SLIP_CUDA_QUANTISE ? (const void *)wide_quantise
                         : host.kind == SLIP_CUDA_SWIGLU   ? (const void *)wide_swiglu
                                                           : (const void *)wide_reduce_norm;
    return launch_behind(kernel, s.sms * WIDE_ROWS_CTAS, WIDE_ROWS_THREADS, 0, s.stream, arguments, kernel_before);
}

} // namespace slip
