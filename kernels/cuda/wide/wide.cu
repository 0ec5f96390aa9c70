/* Launches of wide products. */
#include <assert.h>

#include "kernels/cuda/wide/counted.cuh"
#include "kernels/cuda/wide/dense.cuh"
#include "kernels/cuda/wide/experts.cuh"
#include "kernels/cuda/wide/slots.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

template <int FORMAT>
static constexpr bool blocks_fit()
{
    return wide_format<FORMAT, WIDE_MANY>::GROUPS >= SLIP_SLOT_BLOCK && wide_format<FORMAT, WIDE_FEW>::GROUPS >= SLIP_SLOT_BLOCK_OF_FEW;
}
static_assert(blocks_fit<SLIP_WEIGHT_MXFP4>() && blocks_fit<SLIP_WEIGHT_F8>() && blocks_fit<SLIP_WEIGHT_BF16>(),
              "a block's operand fits a stage");

// A kernel, and what it is launched with.
struct wide_kernel {
    const void *function;
    int threads;
    size_t shared_bytes;
};

template <int FORMAT, int SHAPE, int USE>
static wide_kernel kernel()
{
    return {(const void *)wide_product<FORMAT, SHAPE, USE>, wide_warps<SHAPE>::THREADS, sizeof(wide_memory<FORMAT, SHAPE>)};
}

static wide_kernel router_kernel()
{
    return {(const void *)wide_counted, wide_warps<WIDE_MANY>::THREADS, sizeof(wide_memory<SLIP_WEIGHT_BF16, WIDE_MANY>)};
}

template <int FORMAT>
static wide_kernel dense_kernel()
{
    return {(const void *)wide_dense<FORMAT>, wide_warps<WIDE_DENSE>::THREADS, sizeof(wide_memory<FORMAT, WIDE_DENSE>)};
}

template <int FORMAT>
static wide_kernel experts_kernel()
{
    return {(const void *)wide_experts_of_few<FORMAT>, wide_warps<WIDE_FEW>::THREADS, sizeof(wide_memory<FORMAT, WIDE_FEW>)};
}

static wide_kernel experts_kernel(int format)
{
    switch (format) {
    case SLIP_WEIGHT_BF16: return experts_kernel<SLIP_WEIGHT_BF16>();
    case SLIP_WEIGHT_F8: return experts_kernel<SLIP_WEIGHT_F8>();
    default: return experts_kernel<SLIP_WEIGHT_MXFP4>();
    }
}

// LINEAR's matrices are never mxfp4 (SLIP_KIND_MATRIX, SLIP_KIND_TABLE).
static wide_kernel parts_kernel(int format)
{
    assert(format != SLIP_WEIGHT_MXFP4);
    return format == SLIP_WEIGHT_F8 ? kernel<SLIP_WEIGHT_F8, WIDE_PARTS, WIDE_APART>() : kernel<SLIP_WEIGHT_BF16, WIDE_PARTS, WIDE_APART>();
}

static wide_kernel two_bf16_kernel()
{
    return kernel<SLIP_WEIGHT_BF16, WIDE_MANY, WIDE_SUMMED>();
}

// MOE_GATE_UP or MOE_DOWN in a launch of its own, in a step whose sums are `whole`. `many`: for experts with many rows.
template <int FORMAT>
static wide_kernel kernel_of(int kind, bool whole, bool many)
{
    if (kind == SLIP_CUDA_MOE_DOWN)
        return many ? kernel<FORMAT, WIDE_MANY, WIDE_DOWN>() : kernel<FORMAT, WIDE_FEW, WIDE_DOWN>();
    if (many)
        return kernel<FORMAT, WIDE_MANY, WIDE_GATHERED>();
    return whole ? kernel<FORMAT, WIDE_FEW, WIDE_SUMMED>() : kernel<FORMAT, WIDE_FEW, WIDE_APART>();
}

static wide_kernel kernel_of(const slip_cuda_op &op, bool whole, bool many)
{
    switch (op.product.matrix.format) {
    case SLIP_WEIGHT_BF16: return kernel_of<SLIP_WEIGHT_BF16>(op.kind, whole, many);
    case SLIP_WEIGHT_F8: return kernel_of<SLIP_WEIGHT_F8>(op.kind, whole, many);
    default: return kernel_of<SLIP_WEIGHT_MXFP4>(op.kind, whole, many);
    }
}

static cudaError_t prepare(const wide_kernel &k)
{
    return cudaFuncSetAttribute(k.function, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)k.shared_bytes);
}

template <int FORMAT>
static cudaError_t prepare_format()
{
    const wide_kernel kernels[] = {kernel<FORMAT, WIDE_MANY, WIDE_GATHERED>(), kernel<FORMAT, WIDE_MANY, WIDE_DOWN>(),
                                   kernel<FORMAT, WIDE_FEW, WIDE_APART>(),     kernel<FORMAT, WIDE_FEW, WIDE_SUMMED>(),
                                   kernel<FORMAT, WIDE_FEW, WIDE_DOWN>(),      experts_kernel<FORMAT>()};
    for (const wide_kernel &k : kernels) {
        const cudaError_t error = prepare(k);
        if (error != cudaSuccess)
            return error;
    }
    return cudaSuccess;
}

cudaError_t wide_prepare()
{
    const cudaError_t errors[] = {prepare_format<SLIP_WEIGHT_BF16>(),
                                  prepare_format<SLIP_WEIGHT_F8>(),
                                  prepare_format<SLIP_WEIGHT_MXFP4>(),
                                  prepare(router_kernel()),
                                  prepare(parts_kernel(SLIP_WEIGHT_BF16)),
                                  prepare(parts_kernel(SLIP_WEIGHT_F8)),
                                  prepare(dense_kernel<SLIP_WEIGHT_BF16>()),
                                  prepare(dense_kernel<SLIP_WEIGHT_F8>()),
                                  prepare(two_bf16_kernel())};
    for (cudaError_t error : errors)
        if (error != cudaSuccess)
            return error;
    return cudaSuccess;
}

static cudaError_t launch(const wide_step &s, const wide_kernel &k, int op)
{
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    return launch_behind(k.function, s.sms, k.threads, k.shared_bytes, s.stream, arguments);
}

// Of kernels that copy slots: where there are many, more loads in flight.
static int copy_ctas(const wide_step &s)
{
    return s.whole ? SLOT_CTAS * s.sms : s.sms;
}

static bool are_many(const wide_step &s, const slip_cuda_product &experts)
{
    return slip_slots_are_many(s.rows, experts.top_k, experts.all_experts);
}

// Are MOE_GATE_UP and the MOE_DOWN behind it one launch? That of few rows wants whole weight tiles of gate and of up.
static bool experts_together(const wide_step &s, const slip_cuda_op *up)
{
    return s.together && !are_many(s, up->product) && up[0].product.width % SLIP_TILE_ROWS == 0 &&
           up[0].product.matrix.format == up[1].product.matrix.format;
}

// Is it made by dense.cuh?
static bool is_dense(const wide_step &s, const slip_cuda_op &host)
{
    const int format = host.product.matrix.format;
    return s.whole && host.kind == SLIP_CUDA_LINEAR && !host.product.counted &&
           (format == SLIP_WEIGHT_F8 || (format == SLIP_WEIGHT_BF16 && host.product.operand.single));
}

bool wide_may_send(const wide_step &s, const slip_cuda_op *host)
{
    const slip_cuda_reduce_norm &sum = host[1].reduce_norm;
    return s.together && is_dense(s, *host) && host[1].kind == SLIP_CUDA_REDUCE_NORM && (sum.exchange || sum.peers) &&
           sum.terms.in.data == host->product.out.data && sum.hidden % SLIP_EXCHANGE_COLUMNS == 0;
}

static cudaError_t launch_dense(const wide_step &s, const slip_cuda_op *host, int op)
{
    const wide_kernel k = host->product.matrix.format == SLIP_WEIGHT_F8 ? dense_kernel<SLIP_WEIGHT_F8>() : dense_kernel<SLIP_WEIGHT_BF16>();
    int may_send = wide_may_send(s, host);
    const slip_cuda_reduce_norm &sum = host[1].reduce_norm;
    wide_ranks ranks = may_send ? wide_ranks_of(s, sum.peers, sum.hidden, sum.stand_in) : wide_ranks{};
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op, &ranks, &may_send};
    return launch_behind(k.function, s.sms, k.threads, k.shared_bytes, s.stream, arguments);
}

static cudaError_t launch_linear(const wide_step &s, const slip_cuda_op *host, int op)
{
    const int format = host->product.matrix.format;
    if (!s.whole)
        return launch(s, parts_kernel(format), op);
    if (is_dense(s, *host))
        return launch_dense(s, host, op);
    assert(format == SLIP_WEIGHT_BF16); // a router is f32 in two planes, or bf16
    return launch(s, host->product.counted ? router_kernel() : two_bf16_kernel(), op);
}

static cudaError_t launch_gate_up(const wide_step &s, const slip_cuda_op *host, int op)
{
    const bool many = are_many(s, host->product), together = experts_together(s, host);
    int by_row = s.whole && host->product.by_row, copies = !together || host->product.matrix.format == SLIP_WEIGHT_BF16;
    void *picks[] = {(void *)&s.ops, (void *)&s.step, (void *)&s.picked, &op}, *slots[] = {(void *)&s.ops, &op, &by_row, &copies};
    cudaError_t error = launch_behind((const void *)slots_make, SLOT_MAKERS, SLOT_THREADS, 0, s.stream, picks);
    if (error == cudaSuccess)
        error = launch_behind((const void *)slots_gather, copy_ctas(s), SLOT_COPY_THREADS, 0, s.stream, slots);
    if (error != cudaSuccess)
        return error;
    return launch(s, together ? experts_kernel(host->product.matrix.format) : kernel_of(*host, s.whole, many), op);
}

static cudaError_t launch_down(const wide_step &s, const slip_cuda_op *host, int op)
{
    void *slots[] = {(void *)&s.ops, &op};
    if (experts_together(s, host - 1))
        return cudaSuccess;
    const cudaError_t error = launch_behind((const void *)slots_swiglu, copy_ctas(s), SLOT_COPY_THREADS, 0, s.stream, slots);
    return error == cudaSuccess ? launch(s, kernel_of(*host, s.whole, are_many(s, host->product)), op) : error;
}

cudaError_t wide_enqueue(const wide_step &s, const slip_cuda_op *host, int op)
{
    switch (host->kind) {
    case SLIP_CUDA_MOE_GATE_UP: return launch_gate_up(s, host, op);
    case SLIP_CUDA_MOE_DOWN: return launch_down(s, host, op);
    default: return launch_linear(s, host, op);
    }
}

} // namespace slip
