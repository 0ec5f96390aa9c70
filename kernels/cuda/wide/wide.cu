/* Launches of wide products. */
#include <assert.h>

#include "kernels/cuda/wide/counted.cuh"
#include "kernels/cuda/wide/slots.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

template <int FORMAT>
static constexpr bool blocks_fit()
{
    return wide_format<FORMAT, true>::GROUPS >= SLIP_SLOT_BLOCK && wide_format<FORMAT, false>::GROUPS >= SLIP_SLOT_BLOCK_OF_FEW;
}
static_assert(blocks_fit<SLIP_WEIGHT_MXFP4>() && blocks_fit<SLIP_WEIGHT_F8>() && blocks_fit<SLIP_WEIGHT_BF16>(),
              "a block's operand fits a stage");

// The kernel of a product in this format. DOWN: MOE_DOWN's.
template <int FORMAT>
static const void *kernel_of(bool whole, bool down)
{
    if (down)
        return whole ? (const void *)wide_product<FORMAT, true, true> : (const void *)wide_product<FORMAT, false, true>;
    return whole ? (const void *)wide_product<FORMAT, true, false> : (const void *)wide_product<FORMAT, false, false>;
}

template <int FORMAT>
static constexpr size_t shared_bytes(bool whole)
{
    return whole ? sizeof(wide_memory<FORMAT, true>) : sizeof(wide_memory<FORMAT, false>);
}

static cudaError_t prepare(const void *kernel, size_t bytes)
{
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

template <int FORMAT>
static cudaError_t prepare_format()
{
    for (int i = 0; i < 4; i++) {
        const cudaError_t error = prepare(kernel_of<FORMAT>(i & 1, i & 2), shared_bytes<FORMAT>(i & 1));
        if (error != cudaSuccess)
            return error;
    }
    return cudaSuccess;
}

cudaError_t wide_prepare()
{
    const cudaError_t errors[] = {prepare_format<SLIP_WEIGHT_BF16>(), prepare_format<SLIP_WEIGHT_F8>(), prepare_format<SLIP_WEIGHT_MXFP4>(),
                                  prepare((const void *)wide_counted, shared_bytes<SLIP_WEIGHT_BF16>(true))};
    for (cudaError_t error : errors)
        if (error != cudaSuccess)
            return error;
    return cudaSuccess;
}

template <int FORMAT>
static cudaError_t launch(const wide_step &s, bool down, void **arguments)
{
    return launch_behind(kernel_of<FORMAT>(s.whole, down), s.sms, WIDE_THREADS, shared_bytes<FORMAT>(s.whole), s.stream, arguments);
}

static cudaError_t launch_product(const wide_step &s, const slip_cuda_op &host, int op)
{
    const slip_cuda_product &product = host.product;
    const bool down = host.kind == SLIP_CUDA_MOE_DOWN;
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (product.counted && s.whole) {
        assert(product.matrix.format == SLIP_WEIGHT_BF16); // SLIP_KIND_TABLE: f32 in two planes, or bf16
        return launch_behind((const void *)wide_counted, s.sms, WIDE_THREADS, shared_bytes<SLIP_WEIGHT_BF16>(true), s.stream, arguments);
    }
    switch (product.matrix.format) {
    case SLIP_WEIGHT_BF16: return launch<SLIP_WEIGHT_BF16>(s, down, arguments);
    case SLIP_WEIGHT_F8: return launch<SLIP_WEIGHT_F8>(s, down, arguments);
    default: return launch<SLIP_WEIGHT_MXFP4>(s, down, arguments);
    }
}

cudaError_t wide_enqueue(const wide_step &s, const slip_cuda_op &host, int op)
{
    void *picks[] = {(void *)&s.ops, (void *)&s.step, (void *)&s.picked, &op}, *slots[] = {(void *)&s.ops, &op};
    const int ctas = s.whole ? SLOT_CTAS * s.sms : s.sms; // where there are many slots, more loads in flight
    cudaError_t error = cudaSuccess;
    if (host.kind == SLIP_CUDA_MOE_GATE_UP) {
        error = launch_behind((const void *)slots_make, 1, SLOT_THREADS, 0, s.stream, picks);
        if (error == cudaSuccess)
            error = launch_behind((const void *)slots_gather, ctas, WIDE_THREADS, 0, s.stream, slots);
    }
    if (host.kind == SLIP_CUDA_MOE_DOWN)
        error = launch_behind((const void *)slots_swiglu, ctas, WIDE_THREADS, 0, s.stream, slots);
    return error == cudaSuccess ? launch_product(s, host, op) : error;
}

} // namespace slip
