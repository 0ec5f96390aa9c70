/* Launches of wide products. */
#include "kernels/cuda/wide/product.cuh"
#include "kernels/cuda/wide/slots.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

static_assert(SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_MXFP4>::GROUPS && SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_F8>::GROUPS &&
                  SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_BF16>::GROUPS,
              "a block's operand fits a stage");

template <int FORMAT, bool WHOLE>
static cudaError_t prepare()
{
    return cudaFuncSetAttribute((const void *)wide_product<FORMAT, WHOLE>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                sizeof(wide_memory<FORMAT>));
}

cudaError_t wide_prepare()
{
    const cudaError_t errors[] = {prepare<SLIP_WEIGHT_BF16, false>(), prepare<SLIP_WEIGHT_F8, false>(), prepare<SLIP_WEIGHT_MXFP4, false>(),
                                  prepare<SLIP_WEIGHT_BF16, true>(),  prepare<SLIP_WEIGHT_F8, true>(),  prepare<SLIP_WEIGHT_MXFP4, true>()};
    for (cudaError_t error : errors)
        if (error != cudaSuccess)
            return error;
    return cudaSuccess;
}

template <int FORMAT>
static cudaError_t launch(bool whole, int sms, cudaStream_t stream, void **arguments)
{
    const void *kernel = whole ? (const void *)wide_product<FORMAT, true> : (const void *)wide_product<FORMAT, false>;
    return launch_behind(kernel, sms, WIDE_THREADS, sizeof(wide_memory<FORMAT>), stream, arguments);
}

static cudaError_t launch_product(const kernel_parameters &p, const slip_cuda_product &product, int op, int sms, cudaStream_t stream)
{
    const bool whole = product.out.parts == 1 && !product.counted;
    void *arguments[] = {(void *)&p.ops, (void *)&p.step, &op};
    switch (product.matrix.format) {
    case SLIP_WEIGHT_BF16: return launch<SLIP_WEIGHT_BF16>(whole, sms, stream, arguments);
    case SLIP_WEIGHT_F8: return launch<SLIP_WEIGHT_F8>(whole, sms, stream, arguments);
    default: return launch<SLIP_WEIGHT_MXFP4>(whole, sms, stream, arguments);
    }
}

cudaError_t wide_enqueue(const kernel_parameters &p, const slip_cuda_op &host, int op, int sms, cudaStream_t stream)
{
    void *picks[] = {(void *)&p.ops, (void *)&p.step, (void *)&p.words, &op}, *slots[] = {(void *)&p.ops, &op};
    cudaError_t error = cudaSuccess;
    if (host.kind == SLIP_CUDA_MOE_GATE_UP) {
        error = launch_behind((const void *)slots_make, 1, SLOT_THREADS, 0, stream, picks);
        if (error == cudaSuccess)
            error = launch_behind((const void *)slots_gather, sms, WIDE_THREADS, 0, stream, slots);
    }
    if (host.kind == SLIP_CUDA_MOE_DOWN)
        error = launch_behind((const void *)slots_swiglu, sms, WIDE_THREADS, 0, stream, slots);
    return error == cudaSuccess ? launch_product(p, host.product, op, sms, stream) : error;
}

} // namespace slip
